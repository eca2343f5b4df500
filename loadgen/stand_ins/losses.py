"""The journal of a stand-in: each event that it did not deliver, so that a test can compare it with a run's ledger."""

import io
import time
from pathlib import Path
from typing import Any

import msgspec

from loadgen.payloads.place import DEFAULT
from loadgen.payloads.stamping import NOT_OURS, numbers_reader

_encode = msgspec.json.Encoder().encode
_numbers = numbers_reader(DEFAULT)


class Losses:
    """Writes one JSON object a line for each event that was not delivered to a subscription.

    ``stamp`` is the token, publisher and sequence that the load generator wrote into the event (member `_lg`), or null.
    """

    def __init__(self, path: Path | None) -> None:
        """Without ``path``, losses are not written. Raises OSError if the file cannot be opened."""
        self._file: io.FileIO | None = None if path is None else io.FileIO(path, "w")

    def write(self, why: str, connection: int, subscription: str, event: str | None, **more: Any) -> None:
        """Write a loss at once, so that the file is whole however the server ends."""
        if self._file is None:
            return
        row = {
            "why": why,
            "at_ns": time.time_ns(),
            "connection": connection,
            "subscription": subscription,
            "stamp": _stamp(event),
            **more,
        }
        self._file.write(_encode(row) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _stamp(event: str | None) -> tuple[int, int, int] | None:
    try:
        return None if event is None else _numbers(event)
    except NOT_OURS:
        return None
