"""What can go wrong below the protocol, in one sentence each."""


class TransportError(Exception):
    """A connection could not be made or was lost; the text is a sentence for people."""


class UnreadableError(TransportError):
    """The server sent what is not the protocol of the connection, and nothing after it can be read."""


class HandshakeRefusedError(TransportError):
    """The server answered the WebSocket handshake, and the answer was no."""


def describe(error: BaseException, address: str) -> str:
    """Return a sentence about an operating system or TLS error."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{address}: {reason}"
