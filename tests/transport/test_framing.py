"""Test that `TextFrames` and the websockets library give the same messages and errors for the same bytes.

The bytes are cut into reads at any place.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from loadgen.transport.framing import TextFrames

MAX_BYTES = 100_000
SIZES = st.one_of(
    st.integers(0, 300), st.sampled_from([125, 126, 127, 65_535, 65_536, 70_000, MAX_BYTES + 1])
)


class Reader:
    """Collects the frames that `TextFrames` reads itself or leaves to the `websockets` client protocol."""

    def __init__(self) -> None:
        self.protocol = ClientProtocol(parse_uri("ws://x/"), max_size=MAX_BYTES)
        self.protocol.state = OPEN
        # Start the frame parser, as the library does after the upgrade.
        self.protocol.parser = self.protocol.parse()
        next(self.protocol.parser)
        self.seen: list[tuple[int, bool, bytes]] = []
        self.said = b""
        self._open = False

    def text(self, data: bytes | bytearray, *_: int) -> None:
        self.seen.append((Opcode.TEXT, True, bytes(data)))

    def library(self, data: bytes, *_: int) -> bool:
        self.protocol.receive_data(data)
        for event in self.protocol.events_received():
            assert isinstance(event, Frame)
            self.seen.append((event.opcode, event.fin, bytes(event.data)))
            if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                self._open = not event.fin
        self.said += b"".join(self.protocol.data_to_send())
        return not self._open and self.protocol.close_rcvd is None and self.protocol.parser_exc is None

    def outcome(self) -> Any:
        error = self.protocol.parser_exc
        return self.seen, self.protocol.close_rcvd, type(error), str(error)


# Strategies are made once, because hypothesis examines each new one.
_OPCODES = st.sampled_from([Opcode.TEXT] * 8 + [Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG])
_CONTROL_SIZES, _FIVE, _FORTY = st.integers(0, 125), st.integers(0, 5), st.integers(0, 40)
_RESERVED = st.sampled_from([0x40, 0x03])


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    opcode = draw(_OPCODES)
    size = draw(SIZES if opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT) else _CONTROL_SIZES)
    fin = opcode in (Opcode.PING, Opcode.PONG) or draw(_FIVE) > 0
    if draw(_FORTY) == 0:
        opcode, fin, size = Opcode.CLOSE, True, 0
    data = Frame(opcode, b"x" * size, fin).serialize(mask=draw(_FORTY) == 0)
    if draw(_FORTY) == 0:
        data = bytes([data[0] | draw(_RESERVED)]) + data[1:]
    return data


@settings(max_examples=300, deadline=None)
@given(st.lists(frames(), max_size=12), st.data())
def test_it_is_as_if_the_library_had_read_everything(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    alone, together = Reader(), Reader()
    reader = TextFrames(together.text, together.library, MAX_BYTES)
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        alone.library(stream[begin:end])
        reader.feed(memoryview(stream)[begin:end], 1, 2)
    assert together.outcome() == alone.outcome()


def test_a_frame_that_drips_in_byte_by_byte_is_one_message() -> None:
    stream = Frame(Opcode.TEXT, b"y" * 70_000).serialize(mask=False) + Frame(Opcode.TEXT, b"z").serialize(
        mask=False
    )
    reader = Reader()
    frames_of = TextFrames(reader.text, reader.library, MAX_BYTES)
    for place in range(len(stream)):
        frames_of.feed(stream[place : place + 1], 1, 2)
    assert [len(text) for _, _, text in reader.seen] == [70_000, 1]


def test_the_stamps_are_those_of_the_read_that_completed_the_message() -> None:
    seen: list[tuple[int, int]] = []
    stream = Frame(Opcode.TEXT, b"abc").serialize(mask=False)
    reader = TextFrames(
        lambda _, arrival_ns, read_ns: seen.append((arrival_ns, read_ns)), lambda *_: True, None
    )
    reader.feed(stream[:3], 10, 11)
    reader.feed(stream[3:] + stream, 20, 21)
    assert seen == [(20, 21), (20, 21)]


def test_only_a_message_that_ends_with_the_read_is_exact() -> None:
    seen: list[tuple[int, int]] = []
    stream = Frame(Opcode.TEXT, b"abc").serialize(mask=False)
    reader = TextFrames(
        lambda _, at_ns, read_ns: seen.append((at_ns, getattr(at_ns, "uncertain_ns", 0))),
        lambda *_: True,
        None,
    )

    def fed(data: bytes, at_ns: int, within_ns: int, end_ns: int = 0) -> list[tuple[int, int]]:
        seen.clear()
        reader.feed(data, at_ns, at_ns + 1, within_ns, end_ns)
        return list(seen)

    assert fed(stream, 10, 3) == [(10, 0)]
    assert fed(stream * 3, 20, 4) == [(20, 4), (20, 4), (20, 0)]
    assert fed(stream + stream[:2], 30, 5) == [(30, 5)]
    # The first read completes a frame and begins the next; the second read ends with a frame.
    assert fed(stream[2:] + stream[:2], 40, 6) == [(40, 6)]
    assert fed(stream[2:], 50, 7) == [(50, 0)]
    assert fed(stream[:2], 60, 8) == []
    assert fed(stream[2:] + stream, 70, 9) == [(70, 9), (70, 0)]
    # If the read may have left data in the socket, even the arrival time of its last message is not exact.
    assert fed(stream, 80, 10, 10) == [(80, 10)]


def test_frames_are_for_the_fast_path_only_at_a_boundary_and_while_nothing_is_elsewhere() -> None:
    text = Frame(Opcode.TEXT, b"abc").serialize(mask=False)
    begun, rest = (
        Frame(opcode, b"x", fin).serialize(mask=False)
        for opcode, fin in ((Opcode.TEXT, False), (Opcode.CONT, True))
    )
    reader = Reader()

    def frames_of(refused: str | None = None) -> TextFrames:
        return TextFrames(
            reader.text, reader.library, MAX_BYTES, judge=lambda first, second, length: refused is not None
        )

    def state(of: TextFrames) -> tuple[bool, bool]:
        assert of.ready or of.whole is None
        return of.ready, of.whole is not None

    found = frames_of()
    assert state(found) == (True, True)
    for data, at_boundary in (
        (text[:3], False),
        (text[3:], True),
        (begun, False),
        (rest, True),
        (text, True),
    ):
        found.feed(data, 1, 2)
        assert state(found) == (at_boundary, at_boundary)
    found.end()
    assert state(found) == (False, False)
    # After a frame that is refused or too long, the fast path gets no more data.
    for refused, data in (("no", begun), (None, text[:1] + b"\x7f" + (MAX_BYTES + 1).to_bytes(8))):
        found = frames_of(refused)
        found.feed(data, 1, 2)
        assert state(found) == (False, False)
        found.feed(text, 1, 2)
        assert state(found) == (False, False)
