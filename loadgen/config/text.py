"""Show a file's values in messages: bounded, escaped, and without API keys."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: The name of an environment variable.
ENVIRONMENT_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
#: A Python file and the name of a class in it.
USERS_PATTERN = r"^[^:\x00-\x1f]+\.py:[A-Za-z_][A-Za-z0-9_]*$"
#: A function in a module or a Python file.
REFERENCE_PATTERN = r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
#: `NAME_PATTERN` in words, for error messages: this text follows "must be".
NAME_FORM = "made of letters, digits, '.', '_' and '-', at most 64 of them, a letter or digit first"
KEY_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,49}$"
_SHOWN_CHARACTERS = 60
#: API keys of AppSync begin with da2-; the rest is never shown.
_KEY = re.compile(r"da2-[A-Za-z0-9_-]*", re.IGNORECASE)
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")


def holds_key(text: str) -> bool:
    """Return whether the text contains what looks like an API key."""
    return bool(re.search(r"da2-[A-Za-z0-9]{6,}", text, re.IGNORECASE))


def redacted(text: str) -> str:
    """Return the text with each apparent API key replaced by ``da2-…``."""
    return _KEY.sub("da2-…", text)


def shown(value: object) -> str:
    """Quote a value for a message."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = redacted(str(value))
    if len(text) > _SHOWN_CHARACTERS:
        text = text[:_SHOWN_CHARACTERS] + "…"
    return repr(text) if isinstance(value, str) else text


def named(path: object) -> str:
    """Return the path of a file for a message: as it is, but without API keys, and quoted if it is not printable."""
    text = str(path)
    return redacted(text) if text.isprintable() else shown(text)


def dotted(path: Iterable[str | int]) -> str:
    """Join a path for a message; keys that could harm a terminal are quoted."""
    return ".".join(redacted(text) if _PLAIN_KEY.fullmatch(text) else shown(text) for text in map(str, path))


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None if none is similar."""
    return next(iter(get_close_matches(word[:_SHOWN_CHARACTERS], list(known), n=1, cutoff=0.6)), None)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` with the nearest known word, or the list of known words if none is similar."""
    known = list(known)
    close = closest(word, known)
    if close is not None:
        return f"; did you mean {close!r}?"
    return f"; known are {', '.join(known)}" if known else ""
