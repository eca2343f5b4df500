"""What every file that people write has in common."""

import os

from pydantic import BaseModel, ConfigDict

# Pydantic would search all installed packages for plugins, which takes 0.02 s of CPU time; a scenario means the same
# whatever is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Tags of unions stand in pydantic's error locations; the angle brackets tell them from the file's keys.
WORD, MAPPING, LIST = "<word>", "<mapping>", "<list>"


def is_tag(step: int | str) -> bool:
    """Return whether a step of pydantic's error locations is a tag of a union, or its mark for a mapping's key."""
    return isinstance(step, str) and (step == "[key]" or (step.startswith("<") and step.endswith(">")))


def as_tuple(value: object) -> object:
    """Return a list as the tuple that a frozen model holds; leave anything else alone."""
    return tuple(value) if isinstance(value, list) else value


def word_or_mapping(value: object) -> str:
    """Return the tag of what is written either as a word or spelled out."""
    return MAPPING if isinstance(value, dict | BaseModel) else WORD


class Part(BaseModel):
    """A mapping of such a file: immutable, no unknown keys, no conversion of types."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=False,
        allow_inf_nan=False,
    )
