"""The buffer in which publishes are recorded: a row for each *run of events*, not one for each event.

A run of events consists of consecutive events of one publish request with the same outcome. Once a second, when the
record is written, numpy expands each run of events to a row for each event. If `loadgen.native` was built, it provides
the buffer.
"""

import struct
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.record import schemas
from loadgen import native
from loadgen.measure.rows import EventRow

Values = npt.NDArray[np.int64]

#: Columns of a row, in order; all int64. A row describes consecutive events with the same outcome: `sequence` is the
#: first event's number, `count` the number of events, and `sizes_at` the index of the first event's size in the list of
#: all sizes.
COLUMNS: Final = (
    "publisher",
    "sequence",
    "count",
    "sizes_at",
    "batch",
    "channel",
    "intended_ns",
    "slot_ns",
    "sent_ns",
    "acked_ns",
    "status",
    "error",
    "connection_wait_ns",
    "remote_address",
    "cause_publisher",
    "cause_sequence",
    "cause_subscription",
)
#: Columns that hold the index of a text in the list of all texts, or -1 for None.
TEXTS: Final = frozenset({"channel", "status", "error", "remote_address"})
#: The value that means None in all columns but `TEXTS`.
NONE: Final = -(2**63)
_AT: Final = {name: index for index, name in enumerate(COLUMNS)}
_RUN: Final = struct.Struct(f"={len(COLUMNS)}q")
_NOTHING: Final[Mapping[int, str]] = {}

#: Appends consecutive events that differ only in number and size. The arguments are the columns of `EventRow`, with a
#: list of sizes instead of one size.
Add = Callable[..., None]


class _Part:
    """The series of events recorded since the last `PublishBuffer.take`."""

    __slots__ = ("rows", "sizes", "texts")

    def __init__(self) -> None:
        self.rows, self.sizes = bytearray(), array("q")
        self.texts: dict[str, int] = {}

    def place(self, text: str | None) -> int:
        return -1 if text is None else self.texts.setdefault(text, len(self.texts))


class PublishBuffer:
    """Keeps published events in memory until the record is written: one row for consecutive events of equal outcome."""

    def __init__(self) -> None:
        self._part = _Part()

    def add(
        self,
        publisher: int,
        sequence: int,
        batch: int,
        channel: str,
        intended_ns: int,
        slot_ns: int | None,
        sent_ns: int | None,
        acked_ns: int | None,
        status: str,
        error: str | None,
        sizes: Sequence[int],
        connection_wait_ns: int | None,
        remote_address: str | None,
        cause_publisher: int | None,
        cause_sequence: int | None,
        cause_subscription: int | None,
    ) -> None:
        """Append events numbered from ``sequence`` on, one for each of ``sizes`` (bytes); on an error append nothing.

        Raises:
            struct.error, or OverflowError in the native buffer: a number does not fit into 64 bits.
            TypeError: a value has another type.
        """
        if not sizes:
            return
        part = self._part
        place = part.place
        row = _RUN.pack(
            publisher,
            sequence,
            len(sizes),
            len(part.sizes),
            batch,
            place(channel),
            intended_ns,
            NONE if slot_ns is None else slot_ns,
            NONE if sent_ns is None else sent_ns,
            NONE if acked_ns is None else acked_ns,
            place(status),
            place(error),
            NONE if connection_wait_ns is None else connection_wait_ns,
            place(remote_address),
            NONE if cause_publisher is None else cause_publisher,
            NONE if cause_sequence is None else cause_sequence,
            NONE if cause_subscription is None else cause_subscription,
        )
        # Append the row's sizes first. If an interrupt comes before the row is appended, some sizes are unused, but no
        # row lacks its sizes.
        part.sizes.extend(array("q", sizes))
        part.rows += row

    def take(self) -> tuple[bytes | bytearray, bytes | memoryview, Sequence[str]]:
        """Empty the buffer; return its rows and sizes (int64), and the texts, to which the rows refer by index."""
        part, self._part = self._part, _Part()
        return part.rows, memoryview(part.sizes).cast("B"), list(part.texts)


def buffer() -> "native.PublishRows | PublishBuffer":
    """Return a new buffer: one in C if `loadgen.native` was built, else one in Python."""
    return native.PublishRows() if native.available else PublishBuffer()


def record(
    add: Add,
    publisher: int,
    sequences: Sequence[int],
    batch: int,
    channel: str,
    intended_ns: int,
    slot_ns: int | None,
    sent_ns: int | None,
    acked_ns: int | None,
    status: str,
    error: str | None,
    sizes: Sequence[int],
    refused: Mapping[int, str] = _NOTHING,
    connection_wait_ns: int | None = None,
    remote_address: str | None = None,
    cause: tuple[int, int, int] | None = None,
) -> int:
    """Add the events of a request to a buffer; return how many of them the service refused.

    Consecutive events with the same outcome are added by one call of ``add``, the buffer's method. ``refused`` has the
    reason for each refused event, by its position in the request. The numbers in ``sequences`` ascend, with gaps where
    an event was not made.
    """
    if not sizes:
        return 0
    causes = (None, None, None) if cause is None else cause
    if not refused and type(sequences) is range:
        # Pass the arguments by position: keywords would cost as much time as the row itself.
        add(
            publisher, sequences[0], batch, channel, intended_ns, slot_ns, sent_ns, acked_ns, status, error, sizes,
            connection_wait_ns, remote_address, *causes,
        )  # fmt: skip
        return 0
    rejected = 0
    for begin, end, reason in _runs(sequences, len(sizes), refused):
        if reason is not None:
            rejected += end - begin
        add(
            publisher, sequences[begin], batch, channel, intended_ns, slot_ns, sent_ns, acked_ns,
            status if reason is None else "rejected", error if reason is None else reason, sizes[begin:end],
            connection_wait_ns, remote_address, *causes,
        )  # fmt: skip
    return rejected


def _runs(
    sequences: Sequence[int], count: int, refused: Mapping[int, str]
) -> Iterator[tuple[int, int, str | None]]:
    """Yield (begin, end, reason) for each series of events with consecutive numbers and the same reason for refusal.

    The reason is None for events that were not refused.
    """
    begin = 0
    for end in range(1, count + 1):
        if (
            end < count
            and sequences[end] == sequences[end - 1] + 1
            and refused.get(end) == refused.get(begin)
        ):
            continue
        yield begin, end, refused.get(begin)
        begin = end


class Events:
    """Published events, as columns of integers or of indices of texts. A missing value is `NONE`, or -1 as an index."""

    def __init__(self, rows: bytes | bytearray, sizes: bytes | memoryview, texts: Sequence[str]) -> None:
        """Parse the rows, sizes and texts that `PublishBuffer.take` returned."""
        runs = np.ascontiguousarray(np.frombuffer(rows, dtype=np.int64).reshape(-1, len(COLUMNS)).T)
        self._runs = runs
        self._counts = runs[_AT["count"]]
        self._sizes = np.frombuffer(sizes, dtype=np.int64)
        self._texts = texts
        self._count = int(self._counts.sum())

    def __len__(self) -> int:
        """Return the number of events."""
        return self._count

    def __iter__(self) -> Iterator[EventRow]:
        """Yield the events one by one, which is slow."""
        columns = []
        for name in EventRow._fields:
            values, missing = self[name], self._missing(name)
            if name in TEXTS:
                columns.append(self.texts(name).tolist())
            else:
                columns.append(
                    [None if no else value for value, no in zip(values.tolist(), missing, strict=True)]
                )
        return map(EventRow._make, zip(*columns, strict=True))

    def __getitem__(self, name: str) -> Values:
        """Return a column of `EventRow`, one value for each event."""
        if name == "sequence":
            return np.repeat(self._runs[_AT[name]], self._counts) + self._within
        if name == "bytes":
            return self._sizes[np.repeat(self._runs[_AT["sizes_at"]], self._counts) + self._within]
        return np.repeat(self._runs[_AT[name]], self._counts)

    def texts(self, name: str) -> npt.NDArray[np.object_]:
        """Return a column of texts; None where an event has no text."""
        return self._by_place[self[name]]

    def place(self, text: str) -> int:
        """Return the index of a text in the columns of texts, or -2, an unused number, if no event has the text."""
        return self._places.get(text, -2)

    def distinct(self, name: str) -> list[tuple[int, int]]:
        """Return [(index of a text, number of events with it)] for a column of texts; index -1 stands for None."""
        places, counts = self._runs[_AT[name]], self._counts
        sums = np.bincount(places + 1, weights=counts, minlength=1).astype(np.int64)
        return [(int(place) - 1, int(sums[place])) for place in np.flatnonzero(sums)]

    def text(self, place: int) -> str | None:
        """Return the text with the index ``place``, or None if ``place`` is -1."""
        return None if place < 0 else self._texts[place]

    @property
    def runs(self) -> tuple[Mapping[str, Values], Values]:
        """The pair (columns by name, number of events in each group); each column has one value per group.

        A group is a series of consecutive events with equal values, except for their sequence numbers and sizes.
        """
        return {name: self._runs[at] for name, at in _AT.items()}, self._counts

    @property
    def sent(self) -> int:
        """Number of events that were sent."""
        return int(self._counts[self._runs[_AT["sent_ns"]] != NONE].sum())

    def own_lateness_ns(self, since_ns: int | None = None) -> tuple[Values, Values]:
        """Return (lateness in ns that the generator caused, number of events), with one value of each per row.

        A row stands for consecutive events with the same outcome. Rows are left out if their events were not sent,
        have no `slot_ns` (see `EventRow`), or were due before ``since_ns``.
        """
        slot_ns, sent_ns, wait_ns = (
            self._runs[_AT[name]] for name in ("slot_ns", "sent_ns", "connection_wait_ns")
        )
        known = (slot_ns != NONE) & (sent_ns != NONE)
        if since_ns is not None:
            known &= self._runs[_AT["intended_ns"]] >= since_ns
        waited_ns = np.where(wait_ns == NONE, 0, wait_ns)
        return (sent_ns - waited_ns - slot_ns)[known], self._counts[known]

    def answer_times_ns(self) -> Values:
        """Return the time (ns) from sending to the answer, for each event that was answered."""
        sent_ns, acked_ns = self._runs[_AT["sent_ns"]], self._runs[_AT["acked_ns"]]
        known = (sent_ns != NONE) & (acked_ns != NONE)
        return np.repeat((acked_ns - sent_ns)[known], self._counts[known])

    def failed(self) -> list[tuple[str, int]]:
        """Return [(reason, number of events)] for failed events; the reason is the status if no error is recorded."""
        status, error = self._runs[_AT["status"]], self._runs[_AT["error"]]
        failed = ~np.isin(status, [self.place("accepted"), self.place("sent")])
        found: dict[str, int] = {}
        for at, why, count in zip(
            *(each[failed].tolist() for each in (status, error, self._counts)), strict=True
        ):
            reason = self.text(why) or self.text(at) or ""
            found[reason] = found.get(reason, 0) + count
        return list(found.items())

    def batch(self, worker: int) -> pa.RecordBatch:
        """Return the rows of the record's events table."""
        schema = schemas.plain("events")
        arrays = [pa.array(np.full(len(self), worker, dtype=np.int16))]
        for field in list(schema)[1:]:
            arrays.append(
                (self._text_array if field.name in TEXTS else self._number_array)(field.name, field.type)
            )
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _number_array(self, name: str, kind: pa.DataType) -> pa.Array:
        missing = np.zeros(1, dtype=bool) if name == "bytes" else self._runs[_AT[name]] == NONE
        if missing.all():
            return pa.nulls(len(self), kind)
        # `pa.array` raises an error if a number does not fit the type of its column.
        return pa.array(
            self[name], type=kind, mask=np.repeat(missing, self._counts) if missing.any() else None
        )

    def _text_array(self, name: str, kind: pa.DataType) -> pa.Array:
        places = self._runs[_AT[name]]
        if len(places) and places[0] >= 0 and (places == places[0]).all():
            # In the usual case all events have the same text: build the column without an object for each event.
            encoded = self._texts[int(places[0])].encode()
            offsets = np.arange(len(self) + 1, dtype=np.int64) * len(encoded)
            if offsets[-1] < 2**31 and kind == pa.string():
                return pa.StringArray.from_buffers(
                    len(self), pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(encoded * len(self))
                )
        if (places < 0).all():
            return pa.nulls(len(self), kind)
        return pa.array(self.texts(name), type=kind)

    def _missing(self, name: str) -> npt.NDArray[np.bool_]:
        missing: npt.NDArray[np.bool_] = self[name] == (-1 if name in TEXTS else NONE)
        return missing

    @cached_property
    def _within(self) -> Values:
        """The position, from 0, of each event in its row's series of consecutive events."""
        starts = np.cumsum(self._counts) - self._counts
        within: Values = np.arange(self._count, dtype=np.int64) - np.repeat(starts, self._counts)
        return within

    @cached_property
    def _by_place(self) -> npt.NDArray[Any]:
        by_place = np.empty(len(self._texts) + 1, dtype=object)
        # The last element stays None. The index -1, which stands for None, selects it.
        by_place[:-1] = self._texts
        return by_place

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text: place for place, text in enumerate(self._texts)}
