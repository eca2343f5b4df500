"""What the extension module holds."""

from collections.abc import Callable
from typing import Any

from loadgen.transport.poller import Source

def now_ns() -> int:
    """Return what a read is stamped with here: nanoseconds since the Unix epoch."""

class Rows:
    """Rows of int64 in bytearrays."""

    def __init__(self, columns: int, rows: int) -> None:
        """Raises ValueError where one of them is out of range."""

    def add(self, subscription: int, arrival_ns: int, read_ns: int, stamp: tuple[int, ...], /) -> None:
        """Append a row, its fourth column from an arrival that is an `Arrival`.

        Raises OverflowError where a number does not fit, TypeError where their count does not.
        """

    def take(self) -> list[tuple[bytearray, int]]:
        """Return the buffers that were written since the last call, and how many bytes of each."""

    def take_oldest(self) -> list[tuple[bytearray, int]]:
        """Return the buffer of these that was full first, where there is one."""

    def on_backpressure(self, most: int, relief: Callable[[], object], /) -> None:
        """Call ``relief`` for each buffer that fills while at least ``most`` are full; what it raises is only printed.

        It is called after the read that filled them, never from within itself, and may change anything.
        """

    def give_back(self, buffer: bytearray, /) -> None:
        """Write to a buffer of these rows again, which then cannot be resized.

        Raises ValueError where it is not one of theirs, or was given back already.
        """

class FastPath:
    """Takes the messages that it knows for sure."""

    def take_frames(
        self,
        data: bytes | bytearray | memoryview,
        arrival_ns: int,
        read_ns: int,
        within_ns: int = 0,
        end_ns: int = 0,
        /,
    ) -> int:
        """Take the whole text frames at the beginning as far as they are known; return how many bytes those were.

        Times as in `Source.take`.
        """

class DeliveryFastPath(FastPath):
    """Takes AppSync Events' deliveries that carry our stamp; for one connection."""

    def __init__(self, rows: Rows) -> None:
        """Write deliveries to these rows, which must have 9 columns."""

    def add(self, subscription_id: str, number: int, /) -> None:
        """Take the deliveries of a subscription; raises ValueError for an id that is not short printable ASCII."""

    def clear(self) -> None:
        """Take nothing any more."""

class Poller:
    """Reads sockets when they are readable."""

    def __init__(self, contain: Callable[[Source, BaseException], object]) -> None:
        """``contain`` is called with a source and what was raised on its account; the others are read on."""

    def fileno(self) -> int:
        """Return what is readable while one of the sockets is."""

    def add(self, descriptor: int, source: Source, since_ns: int, /) -> None:
        """Read a socket from now on; what is in it came after ``since_ns``.

        Raises ValueError where it is read already or the time is negative, OSError where it is no open descriptor.
        """

    def remove(self, descriptor: int, /) -> int:
        """Read it no more; call before it is closed. Returns what `since_ns` is then.

        Raises KeyError where it was not read.
        """

    def route(
        self,
        descriptor: int,
        whole: Callable[..., Any] | None,
        fast_path: FastPath | None,
        tls_write: Callable[[bytes], Any] | None = None,
        tls_read: Callable[[int, bytearray], int] | None = None,
        /,
    ) -> None:
        """Say who takes what: the fast path first, then `whole` if a read left one whole text frame, else `take`.

        With the last two (of a TLS object that is at a record's beginning) a fast path's frames are those within whole
        records; what it leaves goes to `take_plaintext`, and what `tls_read` raises to `tls_stopped`. Raises
        ValueError where only one of them is given, or `whole` as well.
        """

    def read(self, most: int, /) -> None:
        """Read the sockets that are readable, once each a round, and not many more than so many."""
