"""The errors of a run by kind, each with its first example."""

import re
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis import text
from analysis.loading.run import Run, Window
from analysis.loading.slices import all_stretches

#: Maximum number of kinds shown: those that came most often.
MOST: Final = 30
COLUMNS: Final = ("where", "kind", "count", "first at", "first example")
#: Numbers, addresses and identifiers differ between errors of one kind.
_VARIES: Final = re.compile(r"\b(?:[0-9a-f]{8,}(?:-[0-9a-f]{4,})*|\d[\d.:]*)\b", re.IGNORECASE)
_SECOND_NS: Final = 1_000_000_000


@dataclass
class _Kind:
    where: str
    kind: str
    count: int = 0
    first_ns: int | None = None
    example: str = ""
    of: str = ""


def kind_of(error: str) -> str:
    """Return an error's text with the parts that vary within a kind as `…`."""
    return text.clean(_VARIES.sub("…", error))


def rows(run: Run) -> list[tuple[str, ...]]:
    """Return a row for each kind of error, with columns `COLUMNS`, the most frequent first; times in UTC.

    Errors of connections, subscriptions and publishes are counted in all phases.
    """
    found: dict[tuple[str, str], _Kind] = {}
    _add(found, run, "connection", "connections", "started_ns", ("worker", "connection"))
    _add(found, run, "subscription", "subscriptions", "requested_ns", ("worker", "subscription"))
    for stretch in [] if run.lacks("error") else all_stretches(run):
        _add(found, run, "publish", "events", "intended_ns", ("worker", "publisher", "channel"), stretch)
    ordered = sorted(found.values(), key=lambda kind: (-kind.count, kind.first_ns or 0, kind.kind))
    created_ns: int = run.manifest["created_ns"]
    return [_row(kind, created_ns) for kind in ordered[:MOST]]


def _row(kind: _Kind, created_ns: int) -> tuple[str, ...]:
    at = text.UNKNOWN
    if kind.first_ns is not None:
        at = f"{text.utc(kind.first_ns)}, {(kind.first_ns - created_ns) / _SECOND_NS:.1f} s in"
    return kind.where, kind.kind, text.count(kind.count), at, f"{kind.of}: {kind.example}"


def _add(
    found: dict[tuple[str, str], _Kind],
    run: Run,
    where: str,
    table: str,
    time: str,
    whose: tuple[str, ...],
    window: Window | None = None,
) -> None:
    read = run.table(table, (*whose, time, "error"), window)
    wrong = read.filter(pc.is_valid(read.column("error")))
    if not wrong.num_rows:
        return
    kinds: dict[str, str] = {}
    for row in _first_of_each(wrong.select(["error", time, *whose]), time):
        error = str(row["error"])
        name = kinds.setdefault(error, kind_of(error))
        kind = found.setdefault((where, name), _Kind(where, name))
        kind.count += row["count"]
        at_ns = row["at"]
        if kind.example and (at_ns is None or (kind.first_ns is not None and kind.first_ns <= at_ns)):
            continue
        kind.first_ns, kind.example = at_ns, text.clean(error)
        kind.of = ", ".join(f"{name} {text.clean(row[name])}" for name in whose if row[name] is not None)


def _first_of_each(table: pa.Table, time: str) -> list[dict[str, Any]]:
    """Return the first row of each distinct error, with its number of rows as ``count`` and its time as ``at``."""
    table = table.set_column(0, "error", table.column("error").cast(pa.string()))
    table = table.sort_by([(time, "ascending")])
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    grouped = table.group_by("error").aggregate([("row", "min"), ("row", "count")])
    rows = table.take(grouped.column("row_min")).to_pylist()
    return [
        {**row, "at": row[time], "count": count}
        for row, count in zip(rows, grouped.column("row_count").to_pylist(), strict=True)
    ]
