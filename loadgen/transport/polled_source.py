"""A connection from the poller's point of view."""

from collections.abc import Callable
from typing import Any, Protocol

from loadgen.transport.framing import OnText


class Source(Protocol):
    """What the poller reads: it calls these methods from the hub."""

    # The classes of connections derive from this one, and save memory by having no `__dict__`.
    __slots__ = ("recvmsg_into", "since_ns", "stamp_ns", "whole")

    #: Reads its socket; only the Python poller calls it.
    recvmsg_into: Callable[..., tuple[int, list[tuple[int, int, bytes]], int, Any]]
    #: Called with the text if a read is exactly one whole text frame; None to pass all bytes to `take`.
    whole: OnText | None
    #: Lower bounds for the next read (ns since the epoch): its stamp is later than ``stamp_ns``, and its data arrived
    #: after ``since_ns``, less the delay in the kernel that `poller` allows for.
    since_ns: int
    stamp_ns: int

    def take(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Process the bytes of one read; empty at the end of the stream. They are valid only until this returns.

        No message in the data arrived later than ``arrival_ns``. The message whose last byte is the last byte of the
        data arrived at most ``end_ns`` earlier. Every other message arrived at most ``within_ns`` earlier.
        """

    def broke(self, error: OSError) -> None:
        """End the source: its socket cannot be read any more."""

    def take_plaintext(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        """Process decrypted bytes that the native fast path has not taken; empty at the end of TLS."""

    def send_owed(self) -> None:
        """Send what the fast path owes the service for what it has taken; see `FastPath.take_owed`."""

    def tls_wrote(self) -> None:
        """Send what TLS itself has to send: the native poller has decrypted something that needs an answer."""

    def tls_stopped(
        self, error: Exception, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Handle the error of a TLS read: nothing more to decrypt (`ssl.SSLWantReadError`), or a failure of TLS."""

    def failed(self, error: BaseException) -> None:
        """End the source: one of its callbacks raised ``error``, or memory for the data of a read ran out."""
