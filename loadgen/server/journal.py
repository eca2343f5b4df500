"""The journal: the server's own record of every event, subscription, delivery and injected fault.

It is a folder of Arrow IPC streams, readable up to the last whole batch, no matter how the server ended. `README.md`
documents the columns. Recording a delivery costs one `pack_into`; a thread writes to disk twice a second.
"""

import asyncio
import json
import os
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from analysis.record import files
from loadgen.measure.columns import RowBuffer, Rows
from loadgen.payloads.place import DEFAULT, Place
from loadgen.payloads.stamping import NOT_OURS, numbers_reader

_FLUSH_INTERVAL_S: Final = 0.5
_NONE: Final = -1

SCHEMAS: Final = {
    "events": pa.schema(
        [
            ("event", pa.int64()),
            ("channel", pa.string()),
            ("received_ns", pa.int64()),
            ("accepted", pa.bool_()),
            ("token", pa.int64()),
            ("publisher", pa.int64()),
            ("sequence", pa.int64()),
        ]
    ),
    "subscriptions": pa.schema(
        [
            ("subscription", pa.int64()),
            ("connection", pa.int64()),
            ("id", pa.string()),
            ("pattern", pa.string()),
            ("begun_ns", pa.int64()),
            ("ended_ns", pa.int64()),
        ]
    ),
    "deliveries": pa.schema(
        [
            ("event", pa.int64()),
            ("subscription", pa.int64()),
            ("decided_ns", pa.int64()),
            ("due_ns", pa.int64()),
            ("written_ns", pa.int64()),
            ("action", pa.int8()),
        ]
    ),
    "actions": pa.schema(
        [
            ("kind", pa.string()),
            ("start_ns", pa.int64()),
            ("end_ns", pa.int64()),
            ("connection", pa.int64()),
            ("code", pa.int32()),
        ]
    ),
}


class Action(IntEnum):
    """The outcome of a delivery."""

    SENT = 0
    DROPPED = 1
    #: The second copy of a duplicated delivery; its row follows that of the first copy.
    DUPLICATE = 2
    #: The delivery was sent, but after a later one: the fault settings held it back to change the order.
    HELD = 3
    #: The delivery was not written, as it fell into the subscription's `lost_window`.
    LOST_WINDOW = 4
    #: The delivery was not written, as the connection or subscription had ended.
    GONE = 5
    #: The delivery was not written, as the throttle's queue was full.
    OVERFLOWED = 6


class NoJournal:
    """A journal that records nothing, with the interface of :class:`Journal`."""

    def event(self, event: int, channel: str, received_ns: int, accepted: bool, text: str) -> None:
        """Record an event that was accepted or rejected."""

    def subscription(
        self, number: int, connection: int, client_id: str, pattern: str, begun_ns: int, ended_ns: int | None
    ) -> None:
        """Record that a subscription began (``ended_ns`` is None) or ended."""

    def delivery(
        self,
        event: int,
        subscription: int,
        decided_ns: int,
        due_ns: int,
        written_ns: int | None,
        action: Action,
    ) -> None:
        """Record a delivery that was written, or never will be (``written_ns`` is None)."""

    def action(self, kind: str, start_ns: int, end_ns: int, connection: int | None, code: int | None) -> None:
        """Record a stall of the server or a disconnect of one connection."""


class Journal(NoJournal):
    """Writes the streams of one folder; raises OSError if they cannot be written."""

    def __init__(self, folder: Path, settings: dict[str, Any], place: Place = DEFAULT) -> None:
        """Create the files; ``place`` says where in an event the load generator's stamp is."""
        self._read = numbers_reader(place)
        folder.mkdir(parents=True, exist_ok=True)
        said = json.dumps({"pid": os.getpid(), "faults": settings}, indent=1)
        files.replace(folder / "settings.json", said + "\n")
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in SCHEMAS if name != "deliveries"}
        self._buffer = RowBuffer(len(SCHEMAS["deliveries"]))
        self._add = self._buffer.add
        self._files = {name: pa.OSFile(str(files.fresh(folder / f"{name}.arrows")), "wb") for name in SCHEMAS}
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._streams = {
            name: pa.ipc.new_stream(self._files[name], schema, options=options)
            for name, schema in SCHEMAS.items()
        }

    def event(self, event: int, channel: str, received_ns: int, accepted: bool, text: str) -> None:
        """Record an event that was accepted or rejected.

        If the event has a stamp of the load generator, its run token, publisher and sequence are recorded too.
        """
        try:
            token, publisher, sequence = self._read(text)
        except NOT_OURS:
            token = publisher = sequence = None  # type: ignore[assignment]
        self._rows["events"].append((event, channel, received_ns, accepted, token, publisher, sequence))

    def subscription(
        self, number: int, connection: int, client_id: str, pattern: str, begun_ns: int, ended_ns: int | None
    ) -> None:
        """Record that a subscription began (``ended_ns`` is None) or ended."""
        self._rows["subscriptions"].append((number, connection, client_id, pattern, begun_ns, ended_ns))

    def delivery(
        self,
        event: int,
        subscription: int,
        decided_ns: int,
        due_ns: int,
        written_ns: int | None,
        action: Action,
    ) -> None:
        """Record a delivery that was written, or never will be (``written_ns`` is None)."""
        self._add(
            event, subscription, decided_ns, due_ns, _NONE if written_ns is None else written_ns, action
        )

    def action(self, kind: str, start_ns: int, end_ns: int, connection: int | None, code: int | None) -> None:
        """Record a stall of the server or a disconnect of one connection."""
        self._rows["actions"].append((kind, start_ns, end_ns, connection, code))

    async def keep(self) -> None:
        """Write new rows to disk twice a second, in a thread, until this task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_FLUSH_INTERVAL_S)
            taken = self._take()
            writing = loop.run_in_executor(None, self._write, *taken)
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                # Let the thread finish its write, since the caller closes the streams next.
                await writing
                raise

    def close(self) -> None:
        """Write the remaining rows and close the streams."""
        self._write(*self._take())
        for name, stream in self._streams.items():
            stream.close()
            self._files[name].close()

    def _take(self) -> tuple[Iterator[Rows], dict[str, list[tuple[Any, ...]]]]:
        rows = {name: rows for name, rows in self._rows.items() if rows}
        for name in rows:
            self._rows[name] = []
        return self._buffer.take(), rows

    def _write(self, deliveries: Iterator[Rows], rows: dict[str, list[tuple[Any, ...]]]) -> None:
        for block in deliveries:
            schema = SCHEMAS["deliveries"]
            columns = []
            for number, field in enumerate(schema):
                values = block[:, number]
                mask = values == _NONE if field.name == "written_ns" else None
                columns.append(pa.array(values, type=pa.int64(), mask=mask).cast(field.type))
            self._streams["deliveries"].write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
        for name, several in rows.items():
            schema = SCHEMAS[name]
            arrays = [
                pa.array(values, type=field.type)
                for values, field in zip(zip(*several, strict=True), schema, strict=True)
            ]
            self._streams[name].write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
