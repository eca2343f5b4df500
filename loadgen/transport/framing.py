"""Parse plain WebSocket frames, nearly all that a load test receives, without an object for each.

A plain frame is a final, unmasked text frame (RFC 6455, section 5.2), or a binary one if the protocol's messages are
binary. All other frames (fragments, control frames, errors) go to the `websockets` library. The library gets whole
frames only, so that it is at a frame boundary whenever a plain frame bypasses it.
"""

from collections.abc import Callable

from loadgen.measure.arrival import arrival
from loadgen.native import FastPath

_TEXT_AND_FINAL, _BINARY_AND_FINAL = 0x81, 0x82
_TWO_BYTES, _EIGHT_BYTES = 126, 127

#: Called with a message, its kernel arrival (an `Arrival` if it is known only as an interval) and the time at which the
#: read returned (ns).
OnText = Callable[[bytes | bytearray, int, int], None]
#: Passes a frame (bytes, arrival, read time) to the `websockets` library. Returns false if the library must see the
#: next frame, whatever it is: a fragmented message is unfinished, or the connection is closing.
Library = Callable[[bytes, int, int], bool]
#: Checks a frame that goes to the `websockets` library, given its first two bytes and its length. Returns true if the
#: frame violates the protocol, which ends the stream.
Judge = Callable[[int, int, int], bool]


def _ignore(message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
    """The callback after `TextFrames.end`: discard the message."""


def _no_objection(first: int, second: int, length: int) -> bool:
    """Accept every frame, since the `websockets` library checks it."""
    return False


def _ignore_all(data: bytes, arrival_ns: int, read_ns: int) -> bool:
    """The callback after `TextFrames.end`: discard the frame."""
    return False


class TextFrames:
    """Splits the received bytes of one connection into frames; the first byte must begin a frame."""

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
        "ready",
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
        """Make a parser.

        ``max_bytes`` is the longest frame to buffer; a longer one goes to the `websockets` library, which reports the
        error. ``judge`` gets the header of each frame that goes to the library, such as a fragment or a control frame,
        before the rest of that frame has arrived.
        """
        self._on_text = on_text
        self._judge = judge
        self._first = _BINARY_AND_FINAL if binary else _TEXT_AND_FINAL
        # Binary frames have no callback of their own, since the poller recognises only whole text frames.
        self._on_whole: OnText | None = None if binary else on_text
        self._library = library
        self._max_bytes = max_bytes if max_bytes is not None else 1 << 62
        self._direct = True
        self._given_up = False
        #: The incomplete frame so far; None at a frame boundary, so that idle connections hold no buffer.
        self._partial: bytearray | None = None
        #: Size of the incomplete frame, header included; 0 if its header is incomplete too.
        self._wanted = 0
        #: The fast path, which sees whole frames first and processes those that it recognises.
        self.fast_path: FastPath | None = None
        #: True if the fast path may process the next bytes: they begin a frame, and no fragmented message is open.
        self.ready = True
        #: Callback for a read that is exactly one whole text frame; None while the stream is not at a frame boundary.
        self.whole = self._on_whole

    def feed(
        self,
        data: bytes | memoryview,
        arrival_ns: int,
        read_ns: int,
        within_ns: int = 0,
        end_ns: int = 0,
    ) -> None:
        """Parse the bytes of one read: any number of frames, the last one possibly incomplete.

        The times mean the same as in `polled_source.Source.take`.
        """
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
                # Process the completed frame separately, so that the rest starts at a frame boundary and the fast path
                # can process it. If a service sends faster than this process reads, nearly every read splits a frame.
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
        """Discard everything from now on, including frames of the read being parsed."""
        self._on_text, self._library, self._judge = _ignore, _ignore_all, _no_objection
        self._on_whole = self.whole = self.fast_path = None
        self.ready = self._direct = False

    def _walk(
        self, data: bytes | memoryview, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int
    ) -> None:
        """Parse frames one by one from a frame boundary on, and keep an incomplete last one."""
        self._wanted = 0
        place, end, first = 0, len(data), self._first
        midst_ns: int | None = None
        while end - place >= 2:
            length = data[place + 1]
            begin = place + 2
            if length >= _TWO_BYTES:
                if length > _EIGHT_BYTES:
                    # The frame is masked, which a server must not do (RFC 6455, 5.1).
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
        self.ready = self._direct and self._partial is None
        self.whole = self._on_whole if self.ready else None

    def _is_refused(self, data: bytes | memoryview, place: int, length: int) -> bool:
        if not self._judge(data[place], data[place + 1], length):
            return False
        self._given_up = True
        self.ready, self.whole = False, None
        return True

    def _give_up(self, rest: bytes | memoryview, length: int, arrival_ns: int, read_ns: int) -> None:
        """End the stream if the callback `judge` refuses this frame.

        Otherwise let `websockets` process this frame and all later data.
        """
        if not self._is_refused(rest, 0, length):
            self._given_up = True
            self.ready, self.whole = False, None
            self._library(bytes(rest), arrival_ns, read_ns)
