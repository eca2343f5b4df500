"""The frames that are nearly all of what a load test receives, taken from the stream without an object for each.

A whole, unmasked text frame (RFC 6455, section 5.2) is a few bytes of header and the message; where the protocol's
messages are binary frames, those are taken so. Everything else
(fragments, control frames, errors) is left to the `websockets` library, which is given whole frames, so that it is
always at a frame's beginning when the next text frame is taken past it.
"""

from collections.abc import Callable

from loadgen.measure.arrival import arrival
from loadgen.native import FastPath

_TEXT_AND_FINAL, _BINARY_AND_FINAL = 0x81, 0x82
_TWO_BYTES, _EIGHT_BYTES = 126, 127

#: Called with a text message, its kernel arrival (an `Arrival` where that is an interval) and the time the read
#: returned (ns).
OnText = Callable[[bytes | bytearray, int, int], None]
#: Steps the library; false: from now on it must see every frame (a fragmented message is open, or the end is near).
Library = Callable[[bytes, int, int], bool]
#: Told the first two bytes of a frame that is not plain, and its length; true: it is not to be, and ends the stream.
Judge = Callable[[int, int, int], bool]


def _ignore(message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
    """Take a message after the end."""


def _no_objection(first: int, second: int, length: int) -> bool:
    """Leave every frame to the library."""
    return False


def _ignore_all(data: bytes, arrival_ns: int, read_ns: int) -> bool:
    """Take frames after the end."""
    return False


class TextFrames:
    """Takes the bytes of one direction of a connection from a frame's beginning on."""

    __slots__ = (
        "_direct",
        "_first",
        "_given_up",
        "_judge",
        "_library",
        "_max_bytes",
        "_on_text",
        "_on_whole",
        "_partial",
        "_wanted",
        "fast_path",
        "whole",
    )

    def __init__(
        self,
        on_text: OnText,
        library: Library,
        max_bytes: int | None,
        *,
        binary: bool = False,
        judge: Judge = _no_objection,
    ) -> None:
        """``max_bytes`` is the longest frame that is waited for; of a longer one the library says what is wrong.

        ``judge`` sees the header of each frame that is not plain before the rest is waited for.
        """
        self._on_text = on_text
        self._judge = judge
        self._first = _BINARY_AND_FINAL if binary else _TEXT_AND_FINAL
        # What reads the sockets knows text frames only.
        self._on_whole: OnText | None = None if binary else on_text
        self._library = library
        self._max_bytes = max_bytes if max_bytes is not None else 1 << 62
        self._direct = True
        self._given_up = False
        #: The beginning of a frame; none for nearly all connections nearly always, and so no buffer for each.
        self._partial: bytearray | None = None
        #: Bytes of the frame that has begun, as far as its header tells.
        self._wanted = 0
        #: Takes what it knows of whole text frames before anything else does.
        self.fast_path: FastPath | None = None
        #: Where the stream is at a frame's beginning: takes the text of a frame that was read alone. Else None.
        self.whole = self._on_whole

    def feed(
        self,
        data: bytes | memoryview,
        arrival_ns: int,
        read_ns: int,
        within_ns: int = 0,
        end_ns: int = 0,
    ) -> None:
        """Take what was read: any number of frames, and a part of one. Times as in `poller.Source`."""
        if self._given_up:
            self._library(bytes(data), arrival(arrival_ns, within_ns), read_ns)
            return
        partial = self._partial
        if partial is not None:
            missing = self._wanted - len(partial)
            if missing > len(data):
                partial += data
                return
            self._partial = None
            if missing > 0:
                # Take only the rest of the begun frame: what follows starts at a frame boundary, which the fast path
                # needs. A service that sends faster than we read would otherwise split a frame at every read.
                partial += data[:missing]
                rest = data[missing:]
                ends_ns = within_ns if len(rest) else end_ns
                self.feed(memoryview(partial), arrival_ns, read_ns, within_ns, ends_ns)
                self.feed(rest, arrival_ns, read_ns, within_ns, end_ns)
                return
            partial += data
            data = memoryview(partial)
        if self.fast_path is not None and self._direct:
            taken = self.fast_path.take_frames(data, arrival_ns, read_ns, within_ns, end_ns)
            data = data[taken:]
        self._walk(data, arrival_ns, read_ns, within_ns, end_ns)

    def end(self) -> None:
        """Take nothing more, not even the rest of what is being taken."""
        self._on_text, self._library, self._judge = _ignore, _ignore_all, _no_objection
        self._on_whole = self.whole = self.fast_path = None

    def _walk(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Take frames one by one, from a frame's beginning on; keep the last one's beginning."""
        self._wanted = 0
        place, end, first = 0, len(data), self._first
        midst_ns: int | None = None
        while end - place >= 2:
            length = data[place + 1]
            begin = place + 2
            if length >= _TWO_BYTES:
                if length > _EIGHT_BYTES:
                    # Masked, which a server must not do.
                    self._give_up(data[place:], length, arrival(arrival_ns, within_ns), read_ns)
                    return
                begin += 2 if length == _TWO_BYTES else 8
                if begin > end:
                    break
                length = int.from_bytes(data[place + 2 : begin], "big")
                if length > self._max_bytes:
                    self._give_up(data[place:], length, arrival(arrival_ns, within_ns), read_ns)
                    return
            stop = begin + length
            if stop > end:
                if (data[place] != first or not self._direct) and self._is_refused(data, place, length):
                    return
                self._wanted = stop - place
                break
            if stop < end:
                if midst_ns is None:
                    midst_ns = arrival(arrival_ns, within_ns)
                at_ns = midst_ns
            else:
                at_ns = arrival(arrival_ns, end_ns) if end_ns else arrival_ns
            if data[place] == first and self._direct:
                self._on_text(bytes(data[begin:stop]), at_ns, read_ns)
            elif self._is_refused(data, place, length):
                return
            else:
                self._direct = self._library(bytes(data[place:stop]), at_ns, read_ns)
            place = stop
        if place < end:
            self._partial = bytearray(data[place:])
        self.whole = self._on_whole if self._direct and self._partial is None else None

    def _is_refused(self, data: bytes | memoryview, place: int, length: int) -> bool:
        if not self._judge(data[place], data[place + 1], length):
            return False
        self._given_up = True
        self.whole = None
        return True

    def _give_up(self, rest: bytes | memoryview, length: int, arrival_ns: int, read_ns: int) -> None:
        """Leave all that follows to the library: it says what is wrong, if the judge does not."""
        if not self._is_refused(rest, 0, length):
            self._given_up = True
            self.whole = None
            self._library(bytes(rest), arrival_ns, read_ns)
