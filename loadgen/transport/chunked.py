"""Extract the body of an HTTP/1.1 answer that may never end (RFC 9112, 6 and 7), without I/O."""

import re
from typing import Final

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?")
#: Maximum length in bytes of the line with a chunk's size and extensions, and of all trailers together.
MOST_LINE_BYTES: Final = 4096
MOST_TRAILER_BYTES: Final = 16 * 1024


class Body:
    """The body of one answer; feed it the bytes after the head, in pieces of any size.

    ``length`` is the declared length of a body that is not chunked, or None if the connection's end is the body's end.
    """

    __slots__ = ("_chunked", "_left", "_line", "_state", "_trailers", "ended", "error")

    def __init__(self, *, chunked: bool, length: int | None = None) -> None:
        self._chunked = chunked
        #: Bytes still to arrive of the current chunk, or of the whole body if it is not chunked; None if the length is
        #: unknown.
        self._left = 0 if chunked else length
        self._state = "size" if chunked else "data"
        self._line = b""
        self._trailers = 0
        #: True once the whole body has arrived; later bytes are ignored.
        self.ended = not chunked and length == 0
        #: Phrase that describes the body's violation of HTTP, or None; after a violation nothing more is parsed.
        self.error: str | None = None

    @property
    def is_whole(self) -> bool:
        """True if the body would be complete if the connection ended now.

        This is always so for a body without chunks and without a declared length: it ends when the connection ends.
        """
        return self.ended or (not self._chunked and self._left is None)

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return the bytes of the body in ``data``, and True if the last of them is also the last byte of ``data``.

        Never raises, whatever the bytes are.
        """
        if not self._chunked and self._left is None:
            return data, True
        parts: list[bytes] = []
        place, end, last = 0, len(data), -1
        while place < end and not self.ended and self.error is None:
            if self._state != "data":
                place = self._control(data, place)
                continue
            assert self._left is not None
            part = data[place : place + self._left]
            parts.append(part)
            place += len(part)
            last = place
            self._left -= len(part)
            if not self._left:
                if self._chunked:
                    self._state = "end"
                else:
                    self.ended = True
        return parts[0] if len(parts) == 1 else b"".join(parts), last == end

    def _control(self, data: bytes, place: int) -> int:
        """Process a line before or after a chunk's data: a size, a line end or a trailer.

        Return the offset in ``data`` of the first byte that was not used.
        """
        stop = data.find(b"\n", place)
        if stop < 0:
            self._line += data[place:]
            if len(self._line) > MOST_LINE_BYTES:
                self.error = f"a line of more than {MOST_LINE_BYTES:,} bytes where a chunk's size should be"
            elif self._state == "end" and not b"\r\n".startswith(self._line):
                self.error = "a chunk that is longer than its size says"
            return len(data)
        line, self._line = self._line + data[place:stop], b""
        line = line.removesuffix(b"\r")
        if self._state == "end":
            self._state = "size"
            if line:
                self.error = "a chunk that is longer than its size says"
        elif self._state == "trailers":
            self._trailers += len(line) + 2
            if not line:
                self.ended = True
            elif self._trailers > MOST_TRAILER_BYTES:
                self.error = f"trailers of more than {MOST_TRAILER_BYTES:,} bytes"
        elif len(line) > MOST_LINE_BYTES:
            self.error = f"a line of more than {MOST_LINE_BYTES:,} bytes where a chunk's size should be"
        elif (found := _SIZE.fullmatch(line)) is None:
            self.error = "a chunk without a size"
        else:
            self._left = int(found[1], 16)
            self._state = "data" if self._left else "trailers"
        return stop + 1
