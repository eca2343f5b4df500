"""What can go wrong below the protocol, in one sentence each."""

from loadgen.protocol.refusals import Refusal


class TransportError(Exception):
    """A connection could not be made or was lost; the text is a sentence for people.

    ``refusal`` is what the service's answer means, where it answered with a no.
    """

    def __init__(self, text: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.refusal = refusal


class UnreadableError(TransportError):
    """The server sent what is not the protocol of the connection, and nothing after it can be read."""


class HandshakeRefusedError(TransportError):
    """The server answered the WebSocket handshake, and the answer was no: trying again cannot help."""


class NotNowError(TransportError):
    """The server answered that it cannot take us now: trying again later may help."""


def describe(error: BaseException, address: str) -> str:
    """Return a sentence about an operating system or TLS error."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{address}: {reason}"
