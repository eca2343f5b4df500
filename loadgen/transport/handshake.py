"""What a server has answered to the WebSocket handshake instead of yes, in words for people.

Whatever it said is shown escaped and cut.
"""

from typing import Final

from websockets.exceptions import InvalidMessage

from loadgen.protocol.unreadable import shown
from loadgen.transport.bounds import HTTP_HEAD_BYTES

_HTTP: Final = b"HTTP/"
_HEAD_END: Final = b"\r\n\r\n"
#: RFC 9113, 6.5 and 6.8: what an HTTP/2 server says first, or says when it goes.
_HTTP2_FRAMES: Final = (4, 7)


class Answer:
    """The beginning of an answer that is not the usual yes."""

    __slots__ = ("_said",)

    def __init__(self) -> None:
        self._said = bytearray()

    def add(self, data: bytes | memoryview) -> None:
        """Take what came; beyond the bound of a head nothing is kept."""
        self._said += data[: HTTP_HEAD_BYTES - len(self._said)]

    def begun(self) -> str | None:
        """Return the beginning of what came, for people; None if nothing did."""
        return shown(self._said) if self._said else None

    def no_http(self) -> str | None:
        """Return what the answer is if it cannot become one of HTTP/1.1; None if it can."""
        said = bytes(self._said[:120])
        if said[: len(_HTTP)] == _HTTP[: len(said)]:
            return None
        return f"answered the WebSocket handshake with {_kind(said)}: {shown(said)}"

    def refused(self) -> tuple[int | None, str] | None:
        """Return (status, in words) of a whole head if that is no; None if it is not whole or says yes."""
        head, end, _ = bytes(self._said).partition(_HEAD_END)
        status = head[9:12]
        if not end or status == b"101":
            return None
        line = head.split(b"\r\n", 1)[0]
        number = int(status) if status.isdigit() else None
        return number, f"{shown(line)}{where(number, _location(head))}"

    def broken_off(self) -> str | None:
        """Return what to say where the connection has ended within the head; None if there was no answer at all."""
        begun = self.begun()
        if begun is None:
            return None
        return f"closed the connection in the middle of its answer to the WebSocket handshake: {begun}"


def broken(error: Exception) -> str:
    """Return in what way an answer breaks a protocol, of which the `websockets` library says that it does."""
    if isinstance(error, InvalidMessage):
        why = str(error.__cause__ or error)
        return f"broke HTTP in its answer to the WebSocket handshake: {shown(why.encode())}"
    return f"broke the WebSocket protocol in its answer to the handshake: {shown(str(error).encode())}"


def where(status: int | None, location: bytes) -> str:
    """Return what there is to say of where an answer leads; empty if nothing."""
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
    return "something that is no HTTP"
