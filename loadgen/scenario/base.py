"""What every file that people write has in common."""

from pydantic import BaseModel, ConfigDict

ENVIRONMENT_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Tags of unions stand in pydantic's error locations; the angle brackets tell them from the file's keys.
WORD, MAPPING, LIST = "<word>", "<mapping>", "<list>"


class Part(BaseModel):
    """A mapping of such a file: immutable, no unknown keys, no conversion of types."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=False,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )
