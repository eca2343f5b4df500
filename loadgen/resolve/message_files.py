"""Read the message files of payloads, and try payload templates with the rows of their data."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loadgen.config.text import dotted, shown
from loadgen.config.units import format_size
from loadgen.data.readers import WHOLE_LINE, rows
from loadgen.payloads.lines import COLUMNS, prepared
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import most_bytes
from loadgen.payloads.template import NOW_MARK, Context, binary, iso
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.checks import payloads
from loadgen.resolve.row_sentences import first_ten, kept, with_row
from loadgen.scenario.data import Data, split
from loadgen.scenario.payload import Content
from loadgen.scenario.scenario import Scenario

if TYPE_CHECKING:
    # This import loads pyarrow, which a scenario without files does not need.
    from loadgen.data.table import Table

#: Maximum number of rows with which the size of a text or JSON template is measured. A hex or base64 template is tried
#: with all rows, as any row may make it invalid.
_SIZES_TRIED = 10_000
#: The event number with which a template's size is measured; no event of a run gets a longer one.
_SEQUENCE = 999_999_999


def read_messages(made: Content, path: Path, stamps: Stamps, limit_bytes: int | None) -> "Table":
    """Read a payload's file of messages.

    Raises:
        DataError: the file cannot be used; the error has a sentence for each mistake.
    """
    assert made.file is not None
    name = made.file if made.file.isprintable() else shown(made.file)
    lines = rows(path, "jsonl", [WHOLE_LINE], name=name)
    found = prepared(lines, stamps, name=name, weight=made.weight, limit_bytes=limit_bytes)
    return kept(found, COLUMNS, name, "messages")


def sources_of(made: Content) -> list[str]:
    """Return the data columns that a payload's template uses, written as in templates: ``people.id``."""
    compiled = made.compiled(None)
    return [] if compiled is None else [name for name in compiled.names if split(name) is not None]


class Tried(NamedTuple):
    """The result of filling in a payload template with one row of data."""

    row: int
    source: str
    """Name of the data file with the most rows among those in the template, or an empty text if it uses none."""
    content: bytes
    """The event; if stamps are within events, it has null in place of the stamp."""
    size: int
    """Bytes of the event without the stamp."""
    why: str | None
    """Reason why the row makes no event, or None if it makes one."""


def tried(
    made: Content, stamps: Stamps, tables: Mapping[str, "Table"], data: Mapping[str, Data], clients: int
) -> Iterator[Tried]:
    """Yield a template filled in with each row of its data in turn."""
    compiled = made.compiled(None if stamps.place.beside else stamps.place.tokens)
    assert compiled is not None
    used = [meant for meant in map(split, sources_of(made)) if meant is not None]
    limits = {source: min(len(tables[source]), _most_rows(data[source], clients)) for source, _ in used}
    longest = max(limits, key=lambda source: limits[source], default="")
    of_bytes = made.kind in ("hex", "base64")
    count = limits.get(longest, 1)
    row = 0

    def cell(name: str) -> object:
        source, _, column = name.partition(".")
        return tables[source].cell(column, min(row, limits[source] - 1))

    context = Context("example", cell)
    context.sequence = _SEQUENCE
    for row in range(count if of_bytes else min(count, _SIZES_TRIED)):
        head, tail = (part.replace(NOW_MARK, iso(0)) for part in compiled.texts(context))
        if of_bytes:
            try:
                content = binary(made.kind, head)
            except ValueError as error:
                yield Tried(row, longest, b"", 0, str(error))
            else:
                yield Tried(row, longest, content, len(content), None)
        else:
            stamp = "" if stamps.place.beside else "null"
            content = f"{head}{stamp}{tail}".encode()
            yield Tried(row, longest, content, len(content) - len(stamp), None)


def _most_rows(data: Data, clients: int) -> int:
    return clients if data.assign == "by-client" else 1 << 62


def unusable_payloads(
    scenario: Scenario, tables: Mapping[str, "Table"], rules: ProtocolRules
) -> Iterator[str]:
    """Yield a sentence for each row of data with which a payload cannot be made or is too large.

    At most ten rows are named; an eleventh sentence says that there may be more.
    """
    for path, made in payloads(scenario.clients):
        if made.written is not None:
            yield from first_ten(_unusable(scenario, tables, rules, (*path, made.kind), made))


def _unusable(
    scenario: Scenario,
    tables: Mapping[str, "Table"],
    rules: ProtocolRules,
    path: Sequence[str | int],
    made: Content,
) -> Iterator[tuple[str, str]]:
    """Yield (data file, error) for each row that makes an invalid event.

    A template without data columns gives at most one error.
    """
    stamps, limit = scenario.stamps, rules.event_bytes
    count = scenario.clients[str(path[1])].count
    for row, source, _, size, why in tried(made, stamps, tables, scenario.data, count):
        most = most_bytes(stamps, size)
        if why is None and (limit is None or most <= limit):
            continue
        if why is None and limit is not None:
            why = (
                f"the event would have up to {most:,} bytes, and the service takes {format_size(limit)};"
                " shorten it"
            )
        if not source:
            yield "", f"{dotted(path)} {why}"
            return
        yield with_row(scenario.data[source], tables[source], row, path, str(why))
