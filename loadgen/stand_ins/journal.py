"""The journal of a stand-in: each event that it did not deliver, so that a test can compare it with a run's ledger."""

import os
import time
from pathlib import Path
from typing import Any

import msgspec

from loadgen.payloads.place import DEFAULT
from loadgen.payloads.stamping import NOT_OURS, numbers_reader

_encode = msgspec.json.Encoder().encode
_numbers = numbers_reader(DEFAULT)


class Journal:
    """Writes lines of JSON to a file, or does nothing if there is none. Each line is written at once and whole.

    Every line has `kind` and `at_ns` (wall-clock time). A line of kind `lost` is for an event that one subscription or
    connection will never get. It has `why`, and members that name the subscription or connection. Its `stamp` is the
    token, publisher and sequence that the load generator wrote into the event (member `_lg`), or null.
    """

    def __init__(self, path: Path | None, *, append: bool = False) -> None:
        """Open the file, and empty it unless ``append`` is set; processes that share the file must set ``append``.

        Raises:
            OSError: the file cannot be opened.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if append else os.O_TRUNC)
        self._file = None if path is None else os.open(path, flags, 0o600)

    @property
    def is_open(self) -> bool:
        """True if there is a file to write lines to."""
        return self._file is not None

    def note(self, kind: str, **more: Any) -> None:
        """Write a line."""
        if self._file is not None:
            os.write(self._file, _encode({"kind": kind, "at_ns": time.time_ns(), **more}) + b"\n")

    def lost(self, why: str, event: str | bytes | None, **where: Any) -> None:
        """Write a line for an event that was not delivered; ``where`` names its connection and subscription."""
        if self._file is not None:
            self.note("lost", why=why, **where, stamp=_stamp(event))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _stamp(event: str | bytes | None) -> tuple[int, int, int] | None:
    try:
        return None if event is None else _numbers(event)
    except NOT_OURS:
        return None
