"""JSON within a text template: finds the surroundings of each placeholder, which decide how its value must be escaped.

The text `CONNECT {"user":"{env:NAME}"}` holds JSON, and the placeholder is within one of its strings.
"""

import json
import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final, NamedTuple

#: A placeholder: `{name}`, or `{env:NAME}` for an environment variable.
PLACEHOLDER: Final = re.compile(r"\{(?P<env>env:)?(?P<name>[A-Za-z_*][A-Za-z0-9_.-]*)\}", re.ASCII)
_BRACKET: Final = re.compile(r"[{\[]")
#: This digit replaces each character of a placeholder before a text is searched for JSON: digits are valid within a
#: JSON string and as a JSON value.
_STAND_IN: Final = "1"
#: A text may have at most this many brackets that begin no JSON: testing one of them may take as long as reading the
#: rest of the text.
_MOST_BRACKETS: Final = 1_000


class Where(Enum):
    """The surroundings of a placeholder."""

    TEXT = "outside JSON"
    STRING = "within a JSON string"
    VALUE = "within JSON, outside a string"


class Place(NamedTuple):
    """A placeholder in a text, and the text next to it, which decides how the value must be escaped."""

    name: str
    of_environment: bool
    where: Where
    #: The characters before and after the placeholder; empty at an end of the text or next to another placeholder.
    before: str
    after: str


class TooManyBracketsError(ValueError):
    """A text has so many brackets outside JSON that it is not searched for JSON."""


@lru_cache(maxsize=256)
def placed(text: str) -> tuple[str | Place, ...]:
    """Return the parts of a text in order: literal texts and placeholders.

    Raises:
        TooManyBracketsError: the text has more than 1,000 brackets that begin no JSON.
    """
    found = list(PLACEHOLDER.finditer(text))
    if not found:
        return (text,)
    plain = PLACEHOLDER.sub(lambda match: _STAND_IN * len(match[0]), text)
    spans = list(_json_spans(plain))
    starts, ends = {match.start() for match in found}, {match.end() for match in found}
    parts: list[str | Place] = []
    done = 0
    for match in found:
        start, end = match.span()
        if start > done:
            parts.append(text[done:start])
        before = "" if start in ends else text[max(0, start - 1) : start]
        after = "" if end in starts else text[end : end + 1]
        parts.append(
            Place(match["name"], match["env"] is not None, _where(plain, spans, start), before, after)
        )
        done = end
    if done < len(text):
        parts.append(text[done:])
    return tuple(parts)


def _where(plain: str, spans: list[tuple[int, int]], place: int) -> Where:
    for start, end in spans:
        if start <= place < end:
            return Where.STRING if _in_string(plain, start, place) else Where.VALUE
    return Where.TEXT


def _json_spans(plain: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each JSON object or list in a text, if the object or list contains a string."""
    read = json.JSONDecoder().raw_decode
    begun, failed = _BRACKET.search(plain), 0
    while begun is not None:
        start = begun.start()
        end = start + 1
        try:
            end = read(plain, start)[1]
        except (ValueError, RecursionError):
            failed += 1
            if failed > _MOST_BRACKETS:
                raise TooManyBracketsError from None
        else:
            # Brackets without a string, such as `[{name}]`, are plain text like `<{name}>`, although `[1]` is valid
            # JSON.
            if '"' in plain[start:end]:
                yield start, end
        begun = _BRACKET.search(plain, end)


def _in_string(plain: str, start: int, place: int) -> bool:
    """Return True if ``place`` is within a string of the JSON that begins at ``start``."""
    inside = False
    at = start
    while at < place:
        if plain[at] == "\\" and inside:
            at += 1
        elif plain[at] == '"':
            inside = not inside
        at += 1
    return inside
