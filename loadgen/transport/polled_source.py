"""The interface through which the poller reads a connection."""

from collections.abc import Callable
from typing import Any, Protocol

from loadgen.transport.framing import OnText


class Source(Protocol):
    """A connection that the poller reads; the poller calls these methods from the gevent hub."""

    # Connection classes derive from this class, and save memory by having no `__dict__`.
    __slots__ = ("recvmsg_into", "since_ns", "stamp_ns", "whole")

    #: Reads the connection's socket; only the Python poller calls this.
    recvmsg_into: Callable[..., tuple[int, list[tuple[int, int, bytes]], int, Any]]
    #: Called with the text if a read is exactly one whole text frame; None to pass all bytes to `take`.
    whole: OnText | None
    #: Lower bounds (ns since the epoch) on times of the next read. The kernel stamps its data later than ``stamp_ns``.
    #: The data becomes readable after ``since_ns``, so it arrives at most `poller.SETTLE_NS`, the kernel's delay,
    #: before ``since_ns``.
    since_ns: int
    stamp_ns: int

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Process the bytes of one read, valid only until this returns; ``data`` is empty at the end of the stream.

        ``arrival_ns`` is the latest time at which any message in the data can have arrived. A message that ends with
        the last byte of the data arrived at most ``end_ns`` before that time. Any other message arrived at most
        ``within_ns`` before it.
        """

    def broke(self, error: OSError) -> None:
        """End the source: its socket cannot be read any more."""

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process decrypted bytes that the native fast path left unprocessed; ``data`` is empty at the end of TLS."""

    def send_owed(self) -> None:
        """Send the acknowledgements for messages that the fast path has processed; see `FastPath.take_owed`."""

    def tls_wrote(self) -> None:
        """Send the bytes that TLS itself produced when the native poller decrypted, such as a key update."""

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Handle the error of a TLS read: nothing more to decrypt (`ssl.SSLWantReadError`), or a failure of TLS."""

    def failed(self, error: BaseException) -> None:
        """End the source, because one of its callbacks raised ``error`` or memory for the data of a read ran out."""
