"""Makes the bodies of one publisher's events."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from loadgen.data.cells import Cell
from loadgen.data.tables import Tables
from loadgen.payloads.lines import BYTES, CHECKSUM, HEAD, TAIL, picker
from loadgen.payloads.plans import Lines, Payload, Sizes, Template
from loadgen.payloads.sizes import drawn
from loadgen.payloads.stamping import Body, Stamping
from loadgen.payloads.template import Compiled, Context, binary, compiled_json, compiled_text

if TYPE_CHECKING:
    from loadgen.data.table import Table


#: Maximum number of message bodies in the cache of a group's publishers, and maximum size of a cached body: together up
#: to some 8 MB.
_MOST_KEPT: Final = 4_096
_MOST_KEPT_BYTES: Final = 1_000


class Maker(Protocol):
    """Makes bodies, one for each event, in the order of the publisher's schedule."""

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        """Return the body of event ``sequence``; ``rows`` maps the data sources that its request uses to row numbers.

        Raises:
            ValueError: the values of these rows make no valid body. The caller prefixes the error's text with the
                beginning of a sentence.
        """


class Makers:
    """Makes the `Maker` of each publisher of a group; the template is compiled once."""

    def __init__(
        self, payload: Payload, size_bytes: int, stamping: Stamping, tables: Tables, group: str
    ) -> None:
        """``size_bytes`` is the size of padded events, if ``payload`` is None."""
        self._payload, self._size_bytes, self._stamping = payload, size_bytes, stamping
        self._tables, self._group = tables, group
        self._kept: dict[int, Body] = {}
        self._compiled = compiled(payload, stamping) if isinstance(payload, Template) else None

    def maker(self, *, seed: str, number: int, index: int, clients: int, own: Mapping[str, Cell]) -> Maker:
        """Return the maker of one publisher's payloads; ``own`` has the values from the publisher's rows of data."""
        payload, stamping = self._payload, self._stamping
        if isinstance(payload, Template):
            assert self._compiled is not None
            seed = f"{seed}/payload/{self._group}/{number}"
            return _Filled(self._compiled, payload.kind, stamping, seed, own, self._tables)
        if isinstance(payload, Lines):
            table = self._tables[payload.table]
            pick = picker(
                payload, table, seed=seed, group=self._group, number=number, index=index, clients=clients
            )
            return _Picked(table, pick, stamping, self._kept)
        if isinstance(payload, Sizes):
            return _Drawn(drawn(payload, f"{seed}/payload/{self._group}/{number}"), stamping)
        return Padding(self._size_bytes, stamping)


def compiled(payload: Template, stamping: Stamping) -> Compiled:
    """Compile a template for the stamp's place; raises PayloadTemplateError if it is invalid."""
    if payload.kind != "json":
        return compiled_text(payload.written)
    return compiled_json(payload.written, None if stamping.beside else stamping.stamps.place.tokens)


class Padding:
    """Makes bodies that are all the same: padding of one size."""

    def __init__(self, size_bytes: int, stamping: Stamping) -> None:
        self._body = stamping.padded(size_bytes)

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        """Return the body, which is always the same."""
        return self._body


class _Drawn:
    """Makes bodies of padding whose sizes are drawn at random."""

    def __init__(self, draw: Callable[[], int], stamping: Stamping) -> None:
        self._draw, self._padded = draw, stamping.padded

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        return self._padded(self._draw())


class _Picked:
    """Makes bodies from the messages of a file."""

    def __init__(
        self, table: "Table", pick: Callable[[], int], stamping: Stamping, bodies: dict[int, Body]
    ) -> None:
        """``bodies`` caches the bodies of messages by row; the publishers of a group share it."""
        self._table, self._pick, self._stamping, self._bodies = table, pick, stamping, bodies

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        row = self._pick()
        body = self._bodies.get(row)
        if body is None:
            body = self._read(row)
            # A file may be large, so cache only a limited number of bodies of limited size.
            if len(self._bodies) < _MOST_KEPT and int(self._table.cell(BYTES, row)) <= _MOST_KEPT_BYTES:
                self._bodies[row] = body
        return body

    def _read(self, row: int) -> Body:
        table = self._table
        if self._stamping.beside:
            return self._stamping.content(table.cell(TAIL, row).encode())
        return self._stamping.whole(
            table.cell(HEAD, row), table.cell(TAIL, row), known=table.cell(CHECKSUM, row)
        )


class _Filled:
    """Makes bodies by filling in a template."""

    def __init__(
        self,
        template: Compiled,
        kind: str,
        stamping: Stamping,
        seed: str,
        own: Mapping[str, Cell],
        tables: Tables,
    ) -> None:
        self._template, self._kind, self._stamping = template, kind, stamping
        self._rows: Mapping[str, int] = {}

        def cell(name: str) -> Cell:
            if name in own:
                return own[name]
            source, _, column = name.partition(".")
            return tables[source].cell(column, self._rows[source])

        self._context = Context(seed, cell)

    def next(self, sequence: int, rows: Mapping[str, int]) -> Body:
        self._context.sequence, self._rows = sequence, rows
        head, tail = self._template.texts(self._context)
        timed = self._template.timed
        if self._kind in ("hex", "base64"):
            return self._stamping.content(binary(self._kind, head))
        if self._stamping.beside:
            return self._stamping.content((head + tail).encode(), timed)
        return self._stamping.whole(head, tail, timed)
