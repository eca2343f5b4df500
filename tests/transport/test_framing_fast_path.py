"""Test where `TextFrames` sends each frame: fast path, `judge`, library, or the callback for whole frames."""

from collections.abc import Callable

import pytest
from websockets.frames import Frame, Opcode

from loadgen.transport.framing import TextFrames


def text(message: bytes) -> bytes:
    return Frame(Opcode.TEXT, message).serialize(mask=False)


def binary(message: bytes) -> bytes:
    return Frame(Opcode.BINARY, message).serialize(mask=False)


PING = Frame(Opcode.PING, b"p").serialize(mask=False)
BEGUN = Frame(Opcode.TEXT, b"frag", fin=False).serialize(mask=False)
ENDED = Frame(Opcode.CONT, b"ment").serialize(mask=False)


class FastPath:
    """A stand-in for a fast path in C: each call takes a given number of bytes, and its arguments are kept."""

    def __init__(self, *takes: int) -> None:
        self._takes = list(takes)
        self.calls: list[tuple[bytes, int, int, int, int]] = []

    def take_frames(
        self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int = 0, end_ns: int = 0
    ) -> int:
        self.calls.append((bytes(data), arrival_ns, read_ns, within_ns, end_ns))
        return self._takes.pop(0)


class World:
    """A `TextFrames` with test doubles for all that it sends frames to.

    The double for the library reports a fragmented message as open until its last fragment.
    """

    def __init__(
        self,
        max_bytes: int | None = 1000,
        *,
        is_binary: bool = False,
        judge: Callable[[int, int, int], bool] | None = None,
    ) -> None:
        self.texts: list[tuple[bytes, int, int]] = []
        self.library: list[tuple[bytes, int, int]] = []
        self.judged: list[tuple[int, int, int]] = []
        self._open = False
        self._judge = judge or (lambda *_: False)
        self.frames = TextFrames(
            self._on_text, self._step, max_bytes, binary=is_binary, judge=self._on_judged
        )

    def _on_text(self, message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        self.texts.append((bytes(message), arrival_ns, read_ns))

    def _step(self, data: bytes, arrival_ns: int, read_ns: int) -> bool:
        self.library.append((data, arrival_ns, read_ns))
        self._open = data == BEGUN or (self._open and data != ENDED)
        return not self._open

    def _on_judged(self, first: int, second: int, length: int) -> bool:
        self.judged.append((first, second, length))
        return self._judge(first, second, length)

    @property
    def messages(self) -> list[bytes]:
        return [message for message, _, _ in self.texts]

    @property
    def taken_whole(self) -> bool:
        """True if the text of a read that is exactly one text frame may be passed on without calling `TextFrames`."""
        return self.frames.whole is not None


def test_plain_frames_are_not_judged_and_others_go_to_the_library_whole() -> None:
    world = World()
    world.frames.feed(text(b"a") + PING + text(b"") + binary(b"b"), 10, 20)
    assert world.texts == [(b"a", 10, 20), (b"", 10, 20)]
    assert world.library == [(PING, 10, 20), (binary(b"b"), 10, 20)]
    assert world.judged == [(0x89, 1, 1), (0x82, 1, 1)]
    # A plain text frame is not passed to `judge`, even if it is incomplete.
    world.frames.feed(text(b"abc")[:3], 10, 20)
    assert len(world.judged) == 2


def test_where_messages_are_binary_frames_those_are_plain_and_never_taken_whole() -> None:
    world = World(is_binary=True)
    assert not world.taken_whole
    world.frames.feed(binary(b"a") + text(b"b") + binary(b"c"), 1, 2)
    assert (world.messages, world.library) == ([b"a", b"c"], [(text(b"b"), 1, 2)])
    assert not world.taken_whole


def test_a_frame_is_taken_whole_only_at_a_frames_beginning_and_outside_a_message_in_parts() -> None:
    world = World()
    assert world.taken_whole
    for data, whole in (
        (text(b"a")[:1], False),
        (text(b"a")[1:], True),
        (text(b"a") + text(b"b")[:2], False),
        (text(b"b")[2:], True),
        (BEGUN, False),
        # Between the fragments of a message, a text frame is an error, which the library reports.
        (text(b"x"), False),
        (ENDED, True),
        (PING[:2], False),
        (PING[2:], True),
    ):
        world.frames.feed(data, 1, 2)
        assert world.taken_whole is whole
    assert world.messages == [b"a", b"a", b"b"]
    # The library also got the text frame between the two fragments, and it reported that `ENDED` ends the message.
    assert [data for data, _, _ in world.library] == [BEGUN, text(b"x"), ENDED, PING]


def test_the_fast_path_is_asked_first_and_the_rest_is_walked() -> None:
    world = World()
    first, second = text(b"one"), text(b"two")
    world.frames.fast_path = fast_path = FastPath(len(first), 0, 0)  # type: ignore[assignment]
    world.frames.feed(first + second + first[:2], 10, 20, 3, 4)
    assert fast_path.calls == [(first + second + first[:2], 10, 20, 3, 4)]
    assert world.messages == [b"two"]
    # The second read completes the first read's last frame. The fast path gets that frame alone, and then the
    # rest, so that its data always begins with a frame.
    world.frames.feed(first[2:] + second, 30, 40, 5, 6)
    assert fast_path.calls[1:] == [(first, 30, 40, 5, 5), (second, 30, 40, 5, 6)]
    assert world.messages == [b"two", b"one", b"two"]


def test_what_completes_a_frame_and_ends_with_it_is_the_fast_paths_with_the_reads_own_end() -> None:
    world = World()
    data = text(b"one")
    world.frames.fast_path = fast_path = FastPath(0, len(data), 0)  # type: ignore[assignment]
    world.frames.feed(data[:3], 10, 20)
    world.frames.feed(data[3:], 30, 40, 5, 6)
    # Nothing of the read is left after the frame, but the fast path is called with it all the same. This costs little.
    assert fast_path.calls == [(data[:3], 10, 20, 0, 0), (data, 30, 40, 5, 6), (b"", 30, 40, 5, 6)]
    assert world.messages == []


def test_within_a_message_in_parts_the_fast_path_is_not_asked() -> None:
    world = World()
    world.frames.fast_path = fast_path = FastPath(0, 0)  # type: ignore[assignment]
    world.frames.feed(BEGUN, 1, 2)
    world.frames.feed(text(b"x"), 1, 2)
    # Inside a fragmented message, a text frame is an error. `judge` gets its header even before the rest has arrived.
    world.judged.clear()
    world.frames.feed(text(b"xyz")[:3], 1, 2)
    assert world.judged == [(0x81, 3, 3)]
    # The fast path was asked only about `BEGUN`, the first fragment, and refused it. While a fragmented message is
    # incomplete, the fast path is not asked.
    assert [call[0] for call in fast_path.calls] == [BEGUN]
    assert [data for data, _, _ in world.library] == [BEGUN, text(b"x")]


def test_what_is_judged_bad_is_not_waited_for_and_ends_the_stream() -> None:
    world = World(judge=lambda first, second, length: first == 0x82)
    whole = binary(b"b" * 300)
    world.frames.feed(text(b"a") + whole[:4], 1, 2)
    # The frame's first two bytes, then its length, which the next two bytes hold.
    assert world.judged == [(0x82, 126, 300)]
    assert world.library == []
    assert not world.taken_whole
    world.frames.feed(text(b"late"), 3, 4)
    assert world.messages == [b"a"]
    assert world.library == [(text(b"late"), 3, 4)], "from there on the library sees every byte"


@pytest.mark.parametrize(("length", "waited_for"), [(1000, True), (1001, False)])
def test_a_frame_above_the_limit_is_the_librarys_at_once(length: int, waited_for: bool) -> None:
    world = World(1000)
    data = text(b"x" * length)
    world.frames.feed(data[:10], 5, 6, 7)
    if waited_for:
        assert world.library == []
        world.frames.feed(data[10:], 5, 6)
        assert world.messages == [b"x" * 1000]
    else:
        assert [(rest, int(at)) for rest, at, _ in world.library] == [(data[:10], 5)]
        assert [getattr(at, "uncertain_ns", 0) for _, at, _ in world.library] == [7]
        assert world.judged == [(0x81, 126, 1001)]
        assert not world.taken_whole


def test_without_a_limit_any_length_is_waited_for() -> None:
    world = World(None)
    world.frames.feed(bytes([0x81, 127]) + (1 << 40).to_bytes(8, "big") + b"x", 1, 2)
    assert (world.library, world.judged) == ([], [])
    assert not world.taken_whole


@pytest.mark.parametrize("second", [0x80, 0x81, 0xFF])
def test_a_masked_frame_is_the_librarys_with_all_that_follows(second: int) -> None:
    world = World()
    rest = bytes([0x81, second]) + b"mask" + text(b"more")
    world.frames.feed(text(b"a") + rest, 1, 2)
    assert (world.messages, world.library) == ([b"a"], [(rest, 1, 2)])
    assert world.judged == [(0x81, second, second)]
    refused = World(judge=lambda *_: True)
    refused.frames.feed(rest, 1, 2)
    assert refused.library == []
    refused.frames.feed(b"more", 1, 2)
    assert refused.library == [(b"more", 1, 2)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
def test_lengths_of_one_three_and_nine_bytes(size: int) -> None:
    world = World(None)
    data = text(b"x" * size) + text(b"y")
    for cut in (1, 2, 3, 4, 9, 10, 11, len(data) - 1):
        world.texts.clear()
        world.frames.feed(data[:cut], 1, 2)
        world.frames.feed(data[cut:], 3, 4)
        assert world.messages == [b"x" * size, b"y"]
        assert world.taken_whole


def test_after_the_end_nothing_is_taken_not_even_the_rest_of_a_read() -> None:
    world = World(judge=lambda *_: True)
    world.frames.fast_path = FastPath()  # type: ignore[assignment]
    world.frames.end()
    assert (world.frames.whole, world.frames.fast_path) == (None, None)
    world.frames.feed(text(b"a") + PING + bytes([0x81, 0xFF]), 1, 2)
    assert (world.texts, world.library, world.judged) == ([], [], [])
    assert not world.taken_whole


def test_the_stamp_of_the_last_frame_of_a_read_is_its_own() -> None:
    world = World()
    world.frames.feed(text(b"a") + text(b"b"), 100, 200, 30, 40)
    assert [(int(at), getattr(at, "uncertain_ns", 0)) for _, at, _ in world.texts] == [(100, 30), (100, 40)]
    world.texts.clear()
    world.frames.feed(text(b"a"), 100, 200, 30)
    assert [(int(at), getattr(at, "uncertain_ns", 0)) for _, at, _ in world.texts] == [(100, 0)]
