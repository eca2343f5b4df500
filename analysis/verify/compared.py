"""Comparing what a file says with what is computed now, key by key and word by word.

A difference has one of three outcomes. A key that both have with different values *disagrees*. A key that the file
lacks because an older version made it is *not there*, which is no error; the same for a key that is no longer made. A
key that the version that made the file does write, and that is missing, was taken out: it disagrees.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

from analysis import text
from analysis.record.revisions import FREE, Maker, child, current, keys

_WORD: Final = re.compile(r"\S+")
_NUMBER: Final = re.compile(r"[-+−]?\d[\d.,]*")
_PLAIN: Final = re.compile(r"[^\W\d][\w:%-]*")
_HIDDEN: Final = ("svg", "style", "script")
#: Disagreements, and keys that are not there, that are named one by one.
SHOWN: Final = 10

Steps = tuple[str | int, ...]


@dataclass
class Verification:
    """What was compared, and what came of it."""

    #: Values compared, by file.
    compared: dict[str, int] = field(default_factory=dict)
    #: A sentence for each figure that is written down and wrong.
    disagreements: list[str] = field(default_factory=list)
    #: ``file: key`` of each figure that this version makes and the version that made the file did not.
    absent: list[str] = field(default_factory=list)
    #: What else a reader should know.
    notes: list[str] = field(default_factory=list)
    #: How what is not there is made anew.
    remedy: str = ""

    @property
    def agrees(self) -> bool:
        """Whether everything that was compared agrees."""
        return not self.disagreements

    def count(self, name: str, values: int) -> None:
        """Add to the values compared of a file."""
        self.compared[name] = self.compared.get(name, 0) + values


def figures(
    name: str,
    here: Any,
    there: Any,
    maker: Maker,
    found: Verification,
    *,
    file: str | None = None,
    at: str = "",
    tolerance: float = 0.0,
) -> None:
    """Compare what is computed now (``here``) with what the file ``name`` says (``there``).

    ``file`` is the kind of file as `analysis.record.revisions` calls it; ``at`` the key under which both stand in it.
    ``tolerance`` is the relative difference up to which two floats agree.
    """
    comparison = _Comparison(name, maker, tolerance)
    steps: Steps = ()
    key = f"{file or name}:"
    for step in at.split(".") if at else ():
        place: str | int = int(step) if step.isdigit() else step
        steps, key = (*steps, place), child(key, place)
    comparison.walk(here, there, steps, key)
    found.count(name, comparison.compared)
    found.disagreements += comparison.disagreements
    found.absent += [f"{name}: {path}" for path in comparison.absent]
    for paths, why in (
        (comparison.dropped, "no longer made"),
        (comparison.unknown, "made by a newer version only"),
        (comparison.otherwise, f"computed in another way since ({maker})"),
    ):
        if paths:
            found.notes.append(f"{name}: not compared, as {why}: {listed(paths)}")


@dataclass
class _Comparison:
    name: str
    maker: Maker
    tolerance: float
    compared: int = 0
    disagreements: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)

    def walk(self, here: Any, there: Any, steps: Steps, key: str) -> None:
        if isinstance(here, dict) and isinstance(there, dict):
            for step in [*here, *(step for step in there if step not in here)]:
                below, place = child(key, step), (*steps, step)
                if step not in there:
                    self._missing(here[step], place, key, below)
                elif step not in here:
                    self._surplus(there[step], place, key, below)
                else:
                    # Of revision 0, which was many versions, nobody can say it.
                    if self.maker.revision and not self.maker.writes(below) and below in keys(current()):
                        self.disagreements.append(
                            f"{self.name}: {shown(place)} is there, and {self.maker} does not write it"
                        )
                    self.walk(here[step], there[step], place, below)
        elif isinstance(here, list) and isinstance(there, list):
            if len(here) != len(there):
                said = f"has {_entries(len(there))}, and {len(here):,} by the tables"
                self._differs(f"{shown(steps)} {said}", steps, key)
                return
            for number, (one, other) in enumerate(zip(here, there, strict=True)):
                self.walk(one, other, (*steps, number), child(key, number))
        else:
            self.compared += 1
            if not agree(here, there, self.tolerance):
                self._differs(
                    f"{shown(steps)} is {_said(there)}, and {_said(here)} by the tables", steps, key
                )

    def _differs(self, sentence: str, steps: Steps, key: str) -> None:
        if self.maker.computes(key):
            self.disagreements.append(f"{self.name}: {sentence}")
        else:
            self.otherwise.append(shown(steps))

    def _missing(self, here: Any, steps: Steps, around: str, key: str) -> None:
        if self.maker.newer and around not in FREE:
            self.dropped += [shown(path) for path in leaves(here, steps)]
        elif around in FREE or self.maker.same or self.maker.writes(key):
            self._differs(f"{shown(steps)} is missing, and {_said(here)} by the tables", steps, key)
        else:
            self.absent += [shown(path) for path in leaves(here, steps)]

    def _surplus(self, there: Any, steps: Steps, around: str, key: str) -> None:
        here_too = around in FREE or self.maker.same or key in keys(current())
        if here_too or (0 < self.maker.revision < current() and not self.maker.writes(key)):
            self._differs(f"{shown(steps)} is {_said(there)}, and not there by the tables", steps, key)
        else:
            where = self.unknown if self.maker.newer else self.dropped
            where += [shown(path) for path in leaves(there, steps)]


def agree(here: Any, there: Any, tolerance: float = 0.0) -> bool:
    """Return whether two values of JSON are the same: true is not 1, and 1 is 1.0."""
    if type(here) is not type(there) and not (_number(here) and _number(there)):
        return False
    if here == there or (here != here and there != there):  # the second: neither is a number (NaN)
        return True
    # Whole numbers are exact, and may be nanoseconds since 1970.
    if not tolerance or not _number(here) or (isinstance(here, int) and isinstance(there, int)):
        return False
    try:
        return math.isclose(here, there, rel_tol=tolerance, abs_tol=tolerance / 1000)
    except OverflowError:
        return False


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def leaves(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """Yield the way to each value that is neither an object nor a list; an empty one counts as a value."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*steps, key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from leaves(each, (*steps, number))
    else:
        yield steps


def flat(value: Any) -> dict[str, Any]:
    """Return the values of JSON by their path, as `shown` writes it."""
    found = {}
    for steps in leaves(value):
        at = value
        for step in steps:
            at = at[step]
        found[shown(steps)] = at
    return found


def shown(steps: Steps) -> str:
    """Return a path as text: ``steps.0.headline_ns.p50``. What is not a plain word is quoted: two paths never meet."""
    said = ""
    for step in steps:
        if isinstance(step, str) and not _PLAIN.fullmatch(step):
            quoted = json.dumps(step, ensure_ascii=False)
            # Escaped and not replaced: two keys that cannot be shown are still two.
            said += f"[{quoted if quoted.isprintable() else json.dumps(step)}]"
        else:
            said += f".{step}" if said else str(step)
    return said or "the whole of it"


def listed(names: Sequence[str]) -> str:
    """Return names as one enumeration that ends where it becomes too long."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _said(value: Any) -> str:
    if isinstance(value, dict | list):
        return (
            f"an object with {_entries(len(value))}"
            if isinstance(value, dict)
            else f"a list of {len(value):,}"
        )
    return text.clean("null" if value is None else json.dumps(value, ensure_ascii=False))


def _entries(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def words(name: str, here: str, there: str, maker: Maker, found: Verification, part: str = "") -> None:
    """Compare two texts word by word. One that an older or newer version wrote in other words is not compared.

    ``part`` names a part of the file in sentences.
    """
    ours, theirs = _WORD.findall(here), _WORD.findall(there)
    if ours != theirs and not maker.same:
        found.notes.append(f"{name}{part}: not compared, as {maker} wrote it in other words")
        return
    found.count(name, len(_NUMBER.findall(here)))
    if ours == theirs:
        return
    place = next(
        (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
    )
    mine, other = (text.clean(side[place]) if place < len(side) else "at its end" for side in (ours, theirs))
    found.disagreements.append(
        f"{name}{part}: it is {other} where it is {mine} by the tables{_after(theirs, place)}"
    )


def _after(said: Sequence[str], place: int) -> str:
    before = " ".join(said[max(0, place - 3) : place])
    return f", after “{text.clean(before)}”" if before else ""


def page(content: str) -> str:
    """Return what a reader sees of an HTML page, but for its plots."""
    parser = _Text()
    parser.feed(content)
    parser.close()
    return "\n".join(parser.parts)


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in _HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in _HIDDEN and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


class DamagedError(Exception):
    """A file that is there cannot be read; the text says why and goes on after the file's name."""


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError:
        raise DamagedError("cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror or error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it cannot be read, or is no object.
    """
    return parsed(read_text(path))


def parsed(content: str) -> dict[str, Any]:
    """Return the object that a JSON text is; raises DamagedError."""
    try:
        found = json.loads(content, object_pairs_hook=_once)
    except RecursionError:
        raise DamagedError("cannot be read: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DamagedError(f"cannot be read: it is no JSON from line {error.lineno} on") from None
    except ValueError as error:
        raise DamagedError(f"cannot be read: {text.clean(error)}") from None
    if not isinstance(found, dict):
        raise DamagedError("holds no JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {json.dumps(twice)} stands in it twice")
    return found


def sentences(found: Verification) -> Iterator[str]:
    """Yield what to tell a person: what was compared, notes, and the first disagreements."""
    for name, count in found.compared.items():
        yield f"{name}: {count:,} values compared"
    yield from found.notes
    yield from found.disagreements[:SHOWN]
    if len(found.disagreements) > SHOWN:
        yield f"and {len(found.disagreements) - SHOWN:,} more"


def conclusion(found: Verification) -> str:
    """Return the last line: what of the files is true."""
    away = ""
    if found.absent:
        are = "figure is" if len(found.absent) == 1 else "figures are"
        away = f"{len(found.absent):,} {are} not there: {listed(_grouped(found.absent))}"
        if found.remedy:
            away += f"; {found.remedy} makes them"
    if found.disagreements:
        disagree = "disagrees" if len(found.disagreements) == 1 else "disagree"
        return f"{len(found.disagreements):,} {disagree}" + (f"; {away}" if away else "")
    return f"all that is there agrees; {away}" if away else "all agree"


def _grouped(absent: Sequence[str]) -> list[str]:
    """Return keys without the name of the file before each, and entries of a list once."""
    names = {re.sub(r"\.\d+(?=\.|$)", ".*", entry.partition(": ")[2] or entry): None for entry in absent}
    return list(names)
