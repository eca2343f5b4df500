"""Compare the contents of a file with recomputed ones, key by key and word by word.

There are three kinds of difference. A key whose values differ *disagrees*. A key that the file lacks because an older
version made it is *not there*, which is no error. A key that this version no longer writes is no error either. A
missing key that the file's version does write must have been removed, so it disagrees.
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
#: At most this many disagreements or missing keys are named one by one.
SHOWN: Final = 10

Steps = tuple[str | int, ...]


@dataclass
class Verification:
    """The result of a verification."""

    #: Number of values compared, by file.
    compared: dict[str, int] = field(default_factory=dict)
    #: A sentence for each wrong figure in a file.
    disagreements: list[str] = field(default_factory=list)
    #: ``file: key`` of each figure that this version of loadgen writes, but the version that made the file did not.
    absent: list[str] = field(default_factory=list)
    #: Further remarks for the reader, one sentence each.
    notes: list[str] = field(default_factory=list)
    #: The command that makes missing files and figures, for use in sentences.
    remedy: str = ""

    @property
    def agrees(self) -> bool:
        """True if everything that was compared agrees."""
        return not self.disagreements

    def count(self, name: str, values: int) -> None:
        """Add to the number of values compared in a file."""
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
    """Compare recomputed contents (``here``) with those of the file ``name`` (``there``).

    ``file`` is the file's name in `analysis.record.revisions`, if that is not ``name``. ``at`` is the dotted path of
    the contents within the file. ``tolerance`` is the relative difference up to which two floats agree.
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
                    # Report a key that the version of the file does not write. Revision 0 is left out: it covers many
                    # versions, so it is not known which keys they wrote.
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
    """Return True if two JSON values agree within a relative tolerance; true differs from 1, but 1 equals 1.0."""
    if type(here) is not type(there) and not (_number(here) and _number(there)):
        return False
    if here == there or (here != here and there != there):  # both are NaN, which differs from itself
        return True
    # Whole numbers must be equal: for times in ns since 1970, a relative tolerance would allow large errors.
    if not tolerance or not _number(here) or (isinstance(here, int) and isinstance(there, int)):
        return False
    try:
        return math.isclose(here, there, rel_tol=tolerance, abs_tol=tolerance / 1000)
    except OverflowError:
        return False


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def leaves(value: Any, steps: Steps = ()) -> Iterator[Steps]:
    """Yield the path of each value that is neither an object nor a list; empty ones count as values."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*steps, key))
    elif isinstance(value, list) and value:
        for number, each in enumerate(value):
            yield from leaves(each, (*steps, number))
    else:
        yield steps


def flat(value: Any) -> dict[str, Any]:
    """Return all values in a JSON value that are neither objects nor lists, by path in the form of `shown`."""
    found = {}
    for steps in leaves(value):
        at = value
        for step in steps:
            at = at[step]
        found[shown(steps)] = at
    return found


def shown(steps: Steps) -> str:
    """Return a path as text, such as ``steps.0.headline_ns.p50``.

    Steps that are not plain words are quoted, so that different paths never look the same.
    """
    said = ""
    for step in steps:
        if isinstance(step, str) and not _PLAIN.fullmatch(step):
            quoted = json.dumps(step, ensure_ascii=False)
            # Escape unprintable characters rather than replace them, so that different keys stay different.
            said += f"[{quoted if quoted.isprintable() else json.dumps(step)}]"
        else:
            said += f".{step}" if said else str(step)
    return said or "the whole of it"


def listed(names: Sequence[str]) -> str:
    """Return names separated by commas, at most `SHOWN` of them."""
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
    """Compare two texts word by word, unless another version worded the file differently.

    ``part`` is the part of the file that the texts come from, for use in sentences.
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
    """Return the visible text of an HTML page, without its plots."""
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
    """A file exists but cannot be read; the message continues after the file's name and says why."""


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedError: the file cannot be read.
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
    """Return the object in a JSON file.

    Raises:
        FileNotFoundError: the file does not exist.
        DamagedError: the file cannot be read, or does not hold an object.
    """
    return parsed(read_text(path))


def parsed(content: str) -> dict[str, Any]:
    """Return the object in a JSON text.

    Raises:
        DamagedError: the text is not JSON, repeats a key, or does not hold an object.
    """
    try:
        found = json.loads(content, object_pairs_hook=_once)
    except RecursionError:
        raise DamagedError("cannot be read: it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise DamagedError(f"cannot be read: it is not JSON from line {error.lineno} on") from None
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
    """Yield the sentences to print: values compared, notes, and the first disagreements."""
    for name, count in found.compared.items():
        yield f"{name}: {count:,} values compared"
    yield from found.notes
    yield from found.disagreements[:SHOWN]
    if len(found.disagreements) > SHOWN:
        yield f"and {len(found.disagreements) - SHOWN:,} more"


def conclusion(found: Verification) -> str:
    """Return the last line to print: whether the files agree with the tables, and which figures are missing."""
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
    """Return the keys of missing figures without the file's name; keys that differ only in list indices appear once."""
    names = {re.sub(r"\.\d+(?=\.|$)", ".*", entry.partition(": ")[2] or entry): None for entry in absent}
    return list(names)
