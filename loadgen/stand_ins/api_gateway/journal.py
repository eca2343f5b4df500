"""The journal of losses: JSON lines that the gateway and its backend append to one file."""

import json
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from loadgen.payloads.place import DEFAULT
from loadgen.payloads.stamping import NOT_OURS, numbers_reader

_numbers = numbers_reader(DEFAULT)


class Journal:
    """Appends lines to a file, or does nothing if there is none. Each line is written at once and whole.

    Every line has `kind` and `at_ns` (wall-clock time). A line of kind `lost` is an event that one connection will
    never get: `why`, `connection`, `channel` (as subscribed), and `stamp`, the token, publisher and sequence that the
    load generator wrote into the event (member `_lg`), or null.
    """

    def __init__(self, path: Path | None) -> None:
        """Open the file for appending; raises OSError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._file = None if path is None else os.open(path, flags, 0o600)

    def note(self, kind: str, **more: Any) -> None:
        """Append a line."""
        if self._file is not None:
            line = json.dumps({"kind": kind, "at_ns": time.time_ns(), **more})
            os.write(self._file, line.encode() + b"\n")

    def lost(self, why: str, connection: str, message: bytes) -> None:
        """Write a line for a delivery that will not reach its connection; ``message`` has the backend's form."""
        if self._file is None:
            return
        channel, stamp = _delivery(message)
        self.note("lost", why=why, connection=connection, channel=channel, stamp=stamp)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


class _Delivery(msgspec.Struct):
    channel: str
    data: msgspec.Raw


def _delivery(message: bytes) -> tuple[str | None, tuple[int, int, int] | None]:
    """Return the channel of a delivery and the numbers in its event's stamp, each None if it has none."""
    try:
        found = msgspec.json.decode(message, type=_Delivery)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None, None
    event: str | bytes = bytes(found.data)
    try:
        if bytes(found.data).startswith(b'"'):
            event = msgspec.json.decode(found.data, type=str)
        return found.channel, _numbers(event)
    except (*NOT_OURS, msgspec.MsgspecError, RecursionError):
        return found.channel, None
