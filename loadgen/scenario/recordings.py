"""Read recorded load curves from CSV files of rates, and report each mistake with its line."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from loadgen.config.problems import Places, ScenarioError
from loadgen.config.text import dotted, named, redacted, shown
from loadgen.config.units import MAX_DURATION_NS
from loadgen.pacing import shapes
from loadgen.scenario.models import Group
from loadgen.scenario.points import ProfilePoint, Recorded, Replay

MAX_ROWS = 100_000
_MAX_FILE_BYTES = 10_000_000
_MAX_LOAD_PERCENT = 100_000
_SHOWN = 10
_NS_PER_S = 1_000_000_000


def read_recordings(data: Any, places: Places, folder: Path) -> list[str]:
    """In the data of a scenario, replace each profile that names a CSV file by the points of this file.

    Profiles of invalid groups are left alone: validation finds their problems later. Profiles whose file cannot be used
    are removed from the data. Return the problems of these files as sentences.
    """
    problems: list[str] = []
    clients = data.get("clients") if isinstance(data, dict) else None
    for name, written in clients.items() if isinstance(clients, dict) else ():
        try:
            group = Group.model_validate(written)
        except ValidationError:
            continue
        if group.publish is None or not isinstance(group.publish.profile, Replay):
            continue
        path = ("clients", name, "publish", "profile", "csv")
        try:
            written["publish"]["profile"] = _recorded(
                group.publish.profile, group.publish.events_per_s(group.count), folder
            )
        except _Unreadable as error:
            del written["publish"]["profile"]
            problems.append(redacted(f"{places.place(path)}: {dotted(path)} {error}"))
        except ScenarioError as error:
            del written["publish"]["profile"]
            problems += error.problems
    return problems


class _Unreadable(Exception):  # noqa: N818  reported as a problem of the profile
    """The file as a whole cannot be used; the message completes a sentence that begins with the profile's path."""


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    at_s: Fraction
    rate: Fraction


def _recorded(replay: Replay, events_per_s: float, folder: Path) -> Recorded:
    """Return the curve in a file.

    Raises:
        _Unreadable: the file does not exist or cannot be used as a whole.
        ScenarioError: rows are wrong; one sentence for each of the first ten.
    """
    path = folder / replay.csv
    _demand_inside(path, folder, replay)
    rows, wrong = _rows(path, replay)
    if not wrong:
        wrong = list(_disorder(rows))
    if wrong:
        # `named` removes an API key from the path. The sentences about rows contain no key.
        source = named(path)
        more = [f"{source}: and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        raise ScenarioError([f"{source}:{each}" for each in wrong[:_SHOWN]] + more)
    if len(rows) < 2:
        raise _Unreadable(
            f"names {shown(replay.csv)}, which has {'one row' if rows else 'no rows'}; a curve takes 2 or more"
        )
    speed = Fraction(replay.speed)
    at_ns = [round((row.at_s - rows[0].at_s) * _NS_PER_S / speed) for row in rows]
    for (earlier, later), (row, following) in zip(pairwise(at_ns), pairwise(rows), strict=True):
        if earlier == later:
            lines = f"lines {row.line} and {following.line}"
            raise _Unreadable(f"names {shown(replay.csv)}, whose {lines} fall together at this speed")
    loads = _loads_percent(replay, rows, events_per_s)
    points = shapes.series(at_ns, loads, flat=replay.between == "steps")
    if points[-1].at_ns > MAX_DURATION_NS:
        hours = points[-1].at_ns / _NS_PER_S / 3600
        raise _Unreadable(
            f"names {shown(replay.csv)}, which lasts {hours:.1f}h, longer than the 168h that a phase may last; "
            "give it a higher speed"
        )
    # Build the curve without validation: a file may have many points, and all were checked above.
    return Recorded.model_construct(
        points=tuple(
            ProfilePoint.model_construct(at_ns=point.at_ns, load_percent=point.load) for point in points
        ),
        lasts_ns=points[-1].at_ns,
        source=replay.csv[:1000],
    )


def _loads_percent(replay: Replay, rows: list[_Row], events_per_s: float) -> list[float]:
    """Return the loads as percentages of the group's rate."""
    highest = max(row.rate for row in rows)
    if highest == 0:
        raise _Unreadable(f"names {shown(replay.csv)}, which has no rate above 0")
    relative = replay.values == "relative"
    scale = Fraction(replay.peak_percent) / highest if relative else 100 / Fraction(events_per_s)
    if highest * scale > _MAX_LOAD_PERCENT:
        raise _Unreadable(
            f"names {shown(replay.csv)}, whose highest rate {float(highest):g} is more than "
            f"{_MAX_LOAD_PERCENT}% of the group's rate"
        )
    return [float(row.rate * scale) for row in rows]


def _rows(path: Path, replay: Replay) -> tuple[list[_Row], list[str]]:
    """Return the valid rows of a file, and the mistakes in other rows as ``line: sentence``."""
    lines = _Lines(path, replay)
    rows: list[_Row] = []
    wrong: list[str] = []
    kinds: dict[bool, int] = {}
    try:
        for line, cells in lines:
            if len(rows) + len(wrong) >= MAX_ROWS:
                raise _Unreadable(f"names {shown(replay.csv)}, which has more than {MAX_ROWS} rows")
            try:
                at_s, zoned = _time(cells[lines.time])
                rate = _rate(cells[lines.rate])
                first = kinds.setdefault(zoned is not None, line)
                if len(kinds) > 1 and first == line:
                    raise ValueError("mixes seconds and timestamps; keep to one of them")
                if zoned is not None:
                    lines.check_zone(zoned)
                rows.append(_Row(line, at_s, rate))
            except ValueError as error:
                wrong.append(f"{line}: {error}")
            except IndexError:
                wrong.append(f"{line}: has {len(cells)} values where the header has {lines.width}")
    except csv.Error as error:
        wrong.append(f"{lines.line}: cannot be read as CSV: {error}")
    return rows, wrong


class _Lines:
    """Iterates over the non-empty rows of a file, each with its line number."""

    def __init__(self, path: Path, replay: Replay) -> None:
        text = _text(path, replay)
        # csv splits the lines itself: str.splitlines would also split at a form feed or U+2028 within a value.
        self._reader = csv.reader(StringIO(text, newline=""), strict=True)
        name = shown(replay.csv)
        wanted = (replay.time_column, replay.rate_column)
        first = text.lstrip("\r\n").splitlines()[:1]
        other = _other_separator(first[0] if first else "", wanted)
        try:
            header = [cell.strip() for cell in next(self._reader, [])]
        except csv.Error as error:
            if other is None:
                raise _Unreadable(f"names {name}, whose header cannot be read as CSV: {error}") from None
            header = [""]
        if other is not None and not set(wanted) <= set(header):
            raise _Unreadable(
                f"names {name}, whose values are separated by {other}; separate them by commas, and write numbers"
                " with a point, as 100.5"
            )
        if not any(header):
            raise _Unreadable(
                f"names {name}, which has no header; its first line is '{replay.time_column},{replay.rate_column}'"
            )
        for column in wanted:
            if header.count(column) != 1:
                count = "no column" if column not in header else "several columns"
                raise _Unreadable(
                    f"names {name}, which has {count} {shown(column)}; it has {_listed(header)}"
                )
        self.time, self.rate = header.index(replay.time_column), header.index(replay.rate_column)
        self.width = len(header)
        self._zoned: bool | None = None

    @property
    def line(self) -> int:
        """The number of the line that was read last."""
        return self._reader.line_num

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        for cells in self._reader:
            if any(cell.strip() for cell in cells):
                yield self.line, cells

    def check_zone(self, zoned: bool) -> None:
        """Refuse timestamps with an offset from UTC in the same file as timestamps without one."""
        if self._zoned is None:
            self._zoned = zoned
        if self._zoned != zoned:
            raise ValueError("mixes timestamps with and without an offset from UTC; keep to one of them")


def _demand_inside(path: Path, folder: Path, replay: Replay) -> None:
    """Refuse a file outside the scenario's folder: another person's scenario must not make us read arbitrary files."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):
        # The path has a loop of symbolic links or a null character; the error is reported when the file is read.
        return
    if not inside:
        raise _Unreadable(
            f"names {shown(replay.csv)}, which is outside the scenario's folder; put the file beside the scenario"
        )


def _other_separator(header: str, wanted: tuple[str, ...]) -> str | None:
    """Return the separator, such as `;`, that divides the header into the wanted columns, or None if none does.

    The separator is only named in the error message. A file whose separator is not a comma is refused, since a comma in
    it may be a decimal point or a thousands separator.
    """
    for separator, shown_as in (";", "';'"), ("\t", "tabs"), ("|", "'|'"):
        cells = {cell.strip().strip('"').strip() for cell in header.split(separator)}
        if set(wanted) <= cells:
            return shown_as
    return None


def _text(path: Path, replay: Replay) -> str:
    name = shown(replay.csv)
    try:
        if path.is_dir():
            raise _Unreadable(f"names {name}, which is a directory; name a CSV file")
        if path.exists() and not path.is_file():
            # Reading a pipe would wait for a writer, and a device may never end.
            raise _Unreadable(f"names {name}, which is not a regular file; name a CSV file")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise _Unreadable(f"names {name}, which is larger than 10 MB")
        text = path.read_bytes().decode("utf-8-sig")
        if "\0" in text:
            # Null characters are valid UTF-8, but the file is probably UTF-16 without a byte order mark.
            raise _Unreadable(f"names {name}, which is not UTF-8; save it as UTF-8")
        return text
    except FileNotFoundError:
        raise _Unreadable(f"names {name}, which is not there; looked for {shown(str(path))}") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _Unreadable(f"names {name}, whose line {line} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise _Unreadable(f"names {name}, which cannot be read: {error.strerror}") from None
    except ValueError:  # the path contains a null character
        raise _Unreadable(f"names {name}; no file can have this name") from None


def _time(cell: str) -> tuple[Fraction, bool | None]:
    """Return (seconds, True if the time has an offset from UTC).

    A plain number is taken as seconds; the second member is then None. Seconds of a timestamp count from 1970.
    """
    text = cell.strip()
    if (number := _number(text)) is not None:
        return number, None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"time must be seconds such as 12.5 or a timestamp such as 2026-01-31T18:00:00Z, not {shown(text)}"
        ) from None
    zoned = moment.tzinfo is not None
    since = moment - datetime.fromisoformat("1970-01-01T00:00:00Z" if zoned else "1970-01-01T00:00:00")
    return Fraction(since.days * 86_400 + since.seconds) + Fraction(since.microseconds, 1_000_000), zoned


def _rate(cell: str) -> Fraction:
    text = cell.strip()
    number = _number(text)
    if number is None:
        raise ValueError(f"rate must be a number such as 120.5, not {shown(text)}")
    if number < 0:
        raise ValueError(f"rate must be at least 0, not {shown(text)}")
    return number


def _number(text: str) -> Fraction | None:
    try:
        number = Decimal(text) if len(text) <= 60 and "_" not in text else None
    except InvalidOperation:
        return None
    # Bound the exponent: a fraction of 1e999999 would have a million digits.
    if (
        number is None
        or not number.is_finite()
        or not math.isfinite(float(number))
        or number.adjusted() < -60
    ):
        return Fraction(0) if number == 0 else None
    return Fraction(number)


def _disorder(rows: list[_Row]) -> Iterator[str]:
    """Yield a sentence for each row whose time is not after that of the row before it."""
    for earlier, later in pairwise(rows):
        if later.at_s == earlier.at_s:
            yield f"{later.line}: has the time of line {earlier.line}; each row needs its own"
        elif later.at_s < earlier.at_s:
            yield f"{later.line}: goes back in time behind line {earlier.line}; rows must be in order of time"


def _listed(header: list[str]) -> str:
    return ", ".join(shown(cell) for cell in header[:8]) + (", …" if len(header) > 8 else "")
