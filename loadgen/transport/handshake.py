"""Describe, for error messages, a server's answer that does not accept the WebSocket handshake.

Quoted bytes of the server are escaped and truncated.
"""

from typing import Final

from websockets.exceptions import InvalidMessage

from loadgen.protocol.unreadable import shown
from loadgen.transport.bounds import HTTP_HEAD_BYTES

_HTTP: Final = b"HTTP/"
_HEAD_END: Final = b"\r\n\r\n"
#: Types of the frames that an HTTP/2 server sends first (SETTINGS) or last (GOAWAY): RFC 9113, 6.5 and 6.8.
_HTTP2_FRAMES: Final = (4, 7)


class Answer:
    """The first bytes of a server's answer that is not an ordinary acceptance of the handshake."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said = bytearray()

    def add(self, data: bytes | memoryview) -> None:
        """Append received bytes; those beyond `bounds.HTTP_HEAD_BYTES` are dropped."""
        self._said += data[: HTTP_HEAD_BYTES - len(self._said)]

    def begun(self) -> str | None:
        """Return the beginning of the answer for an error message, or None if nothing has arrived."""
        return shown(self._said) if self._said else None

    def no_http(self) -> str | None:
        """Return a phrase that says why the answer cannot be HTTP/1.1, or None if the answer can be HTTP/1.1."""
        said = bytes(self._said[:120])
        if said[: len(_HTTP)] == _HTTP[: len(said)]:
            return None
        return f"answered the WebSocket handshake with {_kind(said)}: {shown(said)}"

    def refused(self) -> tuple[int | None, str] | None:
        """Return (status, description) of a refusal, or None if the head is incomplete or accepts the upgrade."""
        head, end, _ = bytes(self._said).partition(_HEAD_END)
        status = head[9:12]
        if not end or status == b"101":
            return None
        line = head.split(b"\r\n", 1)[0]
        number = int(status) if status.isdigit() else None
        return number, f"{shown(line)}{where(number, _location(head))}"

    def broken_off(self) -> str | None:
        """Return the error text for a connection that closed partway through the answer, or None if none had begun."""
        begun = self.begun()
        if begun is None:
            return None
        return f"closed the connection in the middle of its answer to the WebSocket handshake: {begun}"


def broken(error: Exception) -> str:
    """Return how an answer breaks HTTP or the WebSocket protocol; ``error`` is from the `websockets` library."""
    if isinstance(error, InvalidMessage):
        why = str(error.__cause__ or error)
        return f"broke HTTP in its answer to the WebSocket handshake: {shown(why.encode())}"
    return f"broke the WebSocket protocol in its answer to the handshake: {shown(str(error).encode())}"


def where(status: int | None, location: bytes) -> str:
    """Return a hint if the answer is a redirect or an ordinary HTTP answer, else an empty string."""
    if status is not None and status // 100 == 3 and location:
        return f", which sends us to {shown(location)}: redirects are not followed, so give that address"
    if status is not None and status // 100 == 2:
        return ", an ordinary answer and no upgrade: is this the path of the WebSocket?"
    return ""


def _location(head: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"location":
            return value.strip()
    return b""


def _kind(said: bytes) -> str:
    if said[:2] == b"\x15\x03":
        return "a TLS alert (the port wants TLS: a URL of wss)"
    if said[:2] == b"\x16\x03":
        return "a TLS handshake"
    if said.startswith(b"PRI * HTTP/2") or (
        len(said) >= 9 and said[3] in _HTTP2_FRAMES and said[:2] == b"\0\0"
    ):
        return "HTTP/2, and the handshake is one of HTTP/1.1"
    if said.startswith(b"SSH-"):
        return "the greeting of an SSH server"
    return "something that is not HTTP"
