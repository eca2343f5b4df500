"""Common parts of the models of all files that people write."""

import os

from pydantic import BaseModel, ConfigDict

# Pydantic would search all installed packages for plugins. That takes 0.02 s of CPU time, and a plugin could change
# what a scenario means.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# Pydantic puts the tags of unions into its error locations; angle brackets distinguish them from the file's keys.
WORD, MAPPING, LIST = "<word>", "<mapping>", "<list>"


def is_tag(step: int | str) -> bool:
    """Return True if ``step``, part of the location (`loc`) of a pydantic error, is not written in the user's file.

    Such a step is the tag of a union, or `[key]`, by which pydantic says that the error is in a mapping's key.
    """
    return isinstance(step, str) and (step == "[key]" or (step.startswith("<") and step.endswith(">")))


def as_tuple(value: object) -> object:
    """Convert a list to a tuple, since frozen models have no lists; return any other value unchanged."""
    return tuple(value) if isinstance(value, list) else value


def word_or_mapping(value: object) -> str:
    """Return the tag of a pydantic union whose values users write either as a word or as a mapping."""
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
