"""Errors of connections; each message is one sentence for people."""

import ssl
from typing import ClassVar

from loadgen.protocol import unreadable
from loadgen.protocol.refusals import Refusal


class TransportError(Exception):
    """A connection could not be opened or was lost; the message is one sentence.

    ``refusal`` classifies the service's refusal; it is None if the service did not refuse the connection.
    """

    def __init__(self, text: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.refusal = refusal


class UnreadableError(TransportError):
    """The server broke the connection's protocol or exceeded a bound; the rest of the stream is not read."""

    #: Name under which the run's record counts this error, among the kinds of unreadable messages.
    kind: ClassVar[str] = unreadable.FRAME_UNREADABLE


class BodyUnreadableError(UnreadableError):
    """The body of an HTTP answer breaks HTTP."""

    kind = unreadable.BODY_UNREADABLE


class HandshakeRefusedError(TransportError):
    """The server refused the WebSocket handshake for good: trying again cannot help."""


class NeverAgainError(HandshakeRefusedError):
    """The service refused or ended the connection and asked this client not to connect again."""


class NotNowError(TransportError):
    """The server refused the WebSocket handshake for now: trying again later may help."""


def describe(error: BaseException, address: str) -> str:
    """Return the message for an operating system or TLS error at an address."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{address}: {reason}"


def tls_failure(error: ssl.SSLError, address: str) -> TransportError:
    """Return the error for a failure of TLS at an address."""
    return TransportError(f"{address}: TLS failed: {error}")
