"""Common parts of the models of all files that people write."""

import os

from pydantic import BaseModel, ConfigDict

# Pydantic would search all installed packages for plugins. That takes 0.02 s of CPU time, and a plugin could change
# what a scenario means.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Pydantic puts the tags of unions into its error locations; angle brackets distinguish them from the file's keys.
WORD, MAPPING, LIST = "<word>", "<mapping>", "<list>"


def is_tag(step: int | str) -> bool:
    """Return whether a step of a pydantic error location is a union's tag, or pydantic's mark for a mapping's key."""
    return isinstance(step, str) and (step == "[key]" or (step.startswith("<") and step.endswith(">")))


def as_tuple(value: object) -> object:
    """Return a list as the tuple that a frozen model holds, and any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


def word_or_mapping(value: object) -> str:
    """Return the union tag of a value that is written either as a word or as a mapping."""
    return MAPPING if isinstance(value, dict | BaseModel) else WORD


class Part(BaseModel):
    """Base class of mappings in files that users write: immutable, no unknown keys, no type conversion."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_by_alias=True,
        validate_by_name=False,
        allow_inf_nan=False,
    )
