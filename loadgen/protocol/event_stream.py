"""Parse a stream of server-sent events (WHATWG HTML, 9.2.5 and 9.2.6), without I/O.

A line ends with CR LF, LF or CR. A blank line ends an event. The parser decodes no text: values are bytes, and the
caller decides what to do if they are not UTF-8.
"""

import re
from typing import Final, NamedTuple

#: The longest line, and the longest event (the sum of its data lines), in bytes.
MOST_BYTES: Final = 4 * 1024 * 1024
#: The longest event id that a client sends back in a request header: servers would refuse a longer header.
MOST_ID_BYTES: Final = 4096
_MOST_RETRY_DIGITS: Final = 10
_MARK: Final = b"\xef\xbb\xbf"
_LINE_END: Final = re.compile(rb"\r\n|\n|\r")

LINE_TOO_LONG: Final = "an event stream has a line longer than 4 MiB"
EVENT_TOO_LONG: Final = "an event stream has an event longer than 4 MiB"


class ServerEvent(NamedTuple):
    """An event: its name (empty if the stream gives none), its data, and the offset in the fed bytes where it ends."""

    name: bytes
    data: bytes
    end: int


class EventStream:
    """The state of one event stream; feed it the bytes of the body, divided in any way.

    :attr:`last_id` and :attr:`retry_ms` are the latest values of the stream's `id` and `retry` fields; an id is stored
    once its event is complete.
    """

    __slots__ = (
        "_begun",
        "_data",
        "_id",
        "_name",
        "_partial",
        "_size",
        "_skip",
        "error",
        "last_id",
        "retry_ms",
    )

    def __init__(self, last_id: bytes = b"", retry_ms: int | None = None) -> None:
        """``last_id`` and ``retry_ms`` are the values of an earlier stream that this stream continues."""
        self.last_id = self._id = last_id
        #: The wait before a reconnect that the service asks for (ms), or None if it asks for none.
        self.retry_ms = retry_ms
        #: None, or the limit that the stream has exceeded, as a phrase; the rest of the stream is then ignored.
        self.error: str | None = None
        self._begun = False
        #: The incomplete line so far.
        self._partial = bytearray()
        #: True if the last byte was a CR: an LF that follows belongs to the same line end.
        self._skip = False
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    @property
    def is_between(self) -> bool:
        """True if the stream is at the beginning of an event."""
        return not (self._partial or self._data or self._name or self._id != self.last_id)

    @property
    def header_id(self) -> str | None:
        """The `Last-Event-ID` header that continues the stream (WHATWG HTML, 9.2.4), or None if it has no usable id."""
        last_id = self.last_id
        # The header's value must consist of printable characters (RFC 9110, 5.5).
        if not last_id or len(last_id) > MOST_ID_BYTES or not last_id.isascii():
            return None
        text = last_id.decode()
        return text if text.isprintable() else None

    def feed(self, data: bytes) -> list[ServerEvent]:
        """Return the events that are complete with ``data``; never raises, whatever the bytes are."""
        events: list[ServerEvent] = []
        place, end = 0, len(data)
        if self.error is not None or not end:
            return events
        if not self._begun:
            # A byte order mark may arrive in parts: keep the bytes as a partial line until they are a mark or cannot
            # become one.
            self._partial += data
            if len(self._partial) < len(_MARK) and _MARK.startswith(self._partial):
                return events
            self._begun = True
            held = bytes(self._partial)
            self._partial.clear()
            mark = len(_MARK) if held.startswith(_MARK) else 0
            before = len(held) - end
            return [event._replace(end=event.end + mark - before) for event in self.feed(held[mark:])]
        if self._skip:
            self._skip = False
            place = 1 if data[0] == 0x0A else 0
        for found in _LINE_END.finditer(data, place):
            begin, place = place, found.end()
            line = data[begin : found.start()]
            if self._partial:
                line = bytes(self._partial) + line
                self._partial.clear()
            if len(line) > MOST_BYTES:
                self._fail(LINE_TOO_LONG)
                return events
            if line:
                self._take(line)
                if self.error is not None:
                    return events
            elif (event := self._dispatched(place)) is not None:
                events.append(event)
        self._skip = place == end and data[-1] == 0x0D
        if place < end:
            self._partial += data[place:]
            if len(self._partial) > MOST_BYTES:
                self._fail(LINE_TOO_LONG)
        return events

    def _take(self, line: bytes) -> None:
        """Process a line that is not blank."""
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._size += len(value) + 1
            if self._size > MOST_BYTES:
                self._fail(EVENT_TOO_LONG)
                return
            self._data.append(value)
        elif field == b"event":
            self._name = value
        elif field == b"id":
            if b"\0" not in value:
                self._id = value
        elif field == b"retry" and value.isdigit() and len(value) <= _MOST_RETRY_DIGITS:
            self.retry_ms = int(value)
        # Ignore all other fields, and comments (lines that begin with a colon).

    def _dispatched(self, place: int) -> ServerEvent | None:
        """Return the event that a blank line ends, or None if it has no data."""
        self.last_id = self._id
        name, lines = self._name, self._data
        self._name = b""
        if not lines:
            return None
        self._data, self._size = [], 0
        return ServerEvent(name, lines[0] if len(lines) == 1 else b"\n".join(lines), place)

    def _fail(self, error: str) -> None:
        self.error = error
        self._partial.clear()
        self._data.clear()
