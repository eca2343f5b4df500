"""The last messages of a connection since it was last opened, for display if it fails."""

from collections.abc import Sequence
from typing import Final

from loadgen.client.frames import Frames
from loadgen.measure.broken import LastMessage
from loadgen.protocol.base import Service
from loadgen.transport.framing import OnText

#: Number of messages kept. Publishes, and deliveries that a fast path processes, are never kept.
KEPT: Final = 4
#: Size of the longest message that is kept; of a longer one only the length is kept.
KEPT_BYTES: Final = 1024

#: A message as (time in ns, content or only its length in bytes, description). The description is None for a received
#: message; for a sent one it is a text, which may be empty.
_Kept = tuple[int, bytes | bytearray | int, str | None]


class LastMessages:
    """Keeps the last messages of a connection since it was last opened (one life of the connection).

    Of a subscribe message only the channel and the size are kept, because the message often holds a token. To keep one
    token for each of a thousand clients would take much memory.
    """

    __slots__ = ("_fourth", "_receive", "_second", "_service", "_third", "_top")

    def __init__(self, service: Service, receive: OnText) -> None:
        """``receive`` gets each message given to :meth:`received`."""
        self._service = service
        self._receive = receive
        self._top: _Kept | None = None
        self._second: _Kept | None = None
        self._third: _Kept | None = None
        self._fourth: _Kept | None = None

    def received(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Keep a received message and pass it on; see `framing.OnText`."""
        # Without a fast path, this runs for every received message, so it has no loops and few calls.
        self._fourth = self._third
        self._third = self._second
        self._second = self._top
        self._top = (arrival_ns, message if len(message) <= KEPT_BYTES else len(message), None)
        self._receive(message, arrival_ns, read_ns)

    def sent(self, message: bytes, at_ns: int, about: str = "") -> None:
        """Keep a sent message; with ``about`` (a description without secrets) keep only its size and ``about``."""
        self._fourth = self._third
        self._third = self._second
        self._second = self._top
        self._top = (at_ns, len(message) if about or len(message) > KEPT_BYTES else message, about)

    def shown(self, channels: Sequence[str], end_ns: int) -> list[LastMessage]:
        """Return the messages for display, the oldest first, without the secrets of the client's login.

        ``channels`` are texts that hold no secret, and ``end_ns`` the time of the connection's end.
        """
        frames = Frames(self._service.shown, channels)
        shown = []
        for kept in (self._fourth, self._third, self._second, self._top):
            if kept is not None:
                at_ns, content, about = kept
                size = content if isinstance(content, int) else len(content)
                said = _said(frames, content, about)
                shown.append(LastMessage(about is not None, max(0, end_ns - int(at_ns)), size, said))
        return shown


def _said(frames: Frames, content: bytes | bytearray | int, about: str | None) -> str:
    if isinstance(content, int):
        return about or "…"
    # Redact a received message that is not JSON as strictly as a sent one: it may contain a secret anywhere.
    if about is not None or content[:1] not in (b"{", b"["):
        frames.sent(bytes(content))
    else:
        frames.received(content)
    return frames.take()[0].text
