"""The errors of a run by kind, each with its first example, and the last messages of connections that failed."""

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis import text
from analysis.loading.run import Run, Window
from analysis.loading.slices import all_stretches

#: Maximum number of kinds of error that are shown, the most frequent first.
MOST: Final = 30
COLUMNS: Final = ("where", "kind", "count", "first at", "first example")
#: Maximum number of connections whose last messages are shown; manifest.json has the others.
MOST_SHOWN: Final = 10
_MOST_LINES: Final = 8
_MOST_CHARACTERS: Final = 600
_SECOND_NS: Final = 1_000_000_000


@dataclass
class _Kind:
    where: str
    kind: str
    count: int = 0
    first_ns: int | None = None
    example: str = ""
    of: str = ""


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


@dataclass(frozen=True)
class LastMessages:
    """The last messages of a connection that failed, for display; ``of`` says which connection, and why it ended."""

    of: str
    #: One line per message, with its direction (sent or received) and its time before the connection's end.
    lines: list[str]


def last_messages(run: Run) -> list[LastMessages]:
    """Return, for each worker and kind of error, the last messages of the first connection that failed with it.

    Returns at most `MOST_SHOWN` connections, and none for records of earlier versions, which lack the messages.
    """
    found = []
    for worker in run.manifest["workers"]:
        for broken in worker.get("broken_connections", ()):
            who = f"worker {worker['worker']}, connection {broken['connection']}, life {broken['life']}"
            lines = [_line(message) for message in broken["messages"][:_MOST_LINES]]
            if lines:
                found.append(LastMessages(f"{who}: {text.clean(str(broken['error']))}", lines))
    return found[:MOST_SHOWN]


def _line(message: dict[str, Any]) -> str:
    way = "→" if message["sent"] else "←"
    said = " ".join(text.clean(line) for line in str(message["text"])[:_MOST_CHARACTERS].split("\n"))
    return (
        f"{way} {text.duration(message['before_ns'])} before the end, {message['size_bytes']:,} bytes: {said}"
    )


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
        name = kinds.setdefault(error, text.kind_of(error))
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
