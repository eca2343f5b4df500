"""Compare whole streams: frames of a fuzz batch, with other frames between, in reads that end anywhere.

`check_fed` gives the pieces to `TextFrames` with a fast path, as the Python poller does, and compares the
exact times of each row. `check_thread` sends them through a socket to the receive thread, and compares the
rows and their order.
"""

import select
import socket
import time
from collections.abc import Iterator
from random import Random
from typing import Any, Final, cast

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.protocol.unreadable import is_utf8
from loadgen.server import frames
from loadgen.transport.framing import TextFrames
from loadgen.transport.library import Library
from loadgen.transport.polled_source import Source
from tests.native.fuzz import Different, Made, Row, by_python, new_fast_path, reader, rows_in

PATIENCE_S = 60.0
#: Sizes of pieces in bytes; the large ones fill the receive thread's buffer, so that some reads end at its end.
PIECES: Final = (1, 2, 3, 20, 100, 700, 700, 5_000, 5_000, 70_000, 140_000)
END: Final = b"the end"

#: The bytes of a frame, and the text of the message that it completes, or None.
Part = tuple[bytes, bytes | None]
#: For each message text, the row that Python makes of it, or None.
Known = dict[bytes, Row | None]


def _longer(text: bytes) -> bytes:
    return b"\x81\x7f" + len(text).to_bytes(8, "big") + text


def parts(batch: list[Made], random: Random) -> Iterator[Part]:
    """Yield the frames of a batch, some in unusual forms, and frames that no fast path takes.

    A text message that is not UTF-8 ends its connection, so it is left out here; `fuzz.check` tests such
    frames.
    """
    for made in batch:
        if not is_utf8(made.text):
            continue
        kind = random.random()
        text = made.text
        if kind < 0.01:
            yield random.choice((b"\x89\x00", b"\x8a\x00", b"\x89\x03abc")), None
        elif kind < 0.015:
            yield b"\x81\x00", b""
        if kind > 0.99:
            yield _longer(text), text
        elif kind > 0.985:
            cut = random.randrange(len(text) + 1)
            first, second = frames.text_frame(text[:cut]), frames.text_frame(text[cut:])
            yield b"\x01" + first[1:], None
            yield b"\x80" + second[1:], text
        elif kind > 0.98:
            yield b"\x81\x7e" + len(text).to_bytes(2, "big") + text, text
        else:
            yield frames.text_frame(text), text


class Reading:
    """A source of bytes like `WebSocket`; Python makes rows of the messages that the fast path does not take."""

    def __init__(self, rows: native.Rows, fast_path: native.FastPath, known: Known) -> None:
        self.rows, self.fast_path, self._known = rows, fast_path, known
        self.frames: TextFrames = Library(self._on_text, False, None).frames(lambda: None)
        self.frames.fast_path = fast_path
        self.whole: Any = self.frames.whole
        self.ended = False
        self.errors: list[BaseException] = []
        self.route: Any = None

    def _on_text(self, text: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        self.ended = self.ended or text == END
        row = self._known[bytes(text)] if text != END else None
        if row is not None:
            self.rows.add(row[0], arrival_ns, read_ns, tuple(row[4:]))

    def take(self, data: bytes, arrival_ns: int, read_ns: int, within_ns: int, end_ns: int) -> None:
        self.frames.feed(data, arrival_ns, read_ns, within_ns, end_ns)
        if self.frames.whole is not self.whole:
            self.whole = self.frames.whole
            self.route()

    def broke(self, error: OSError) -> None:
        self.errors.append(error)

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


def _pieces(data: bytes, random: Random) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = random.choice(PIECES)
        yield data[at : at + size]
        at += size


def check_fed(stream: list[Part], batch: list[Made], known: Known, random: Random) -> None:
    """Feed the stream in pieces, each as one read with its own arrival times; raises Different on a wrong row."""
    fast_path, rows = new_fast_path(batch[0].stamps)
    source = Reading(rows, fast_path, known)
    data = b"".join(frame for frame, _ in stream)
    ends, at = [], 0
    times: list[tuple[int, int, int, int]] = []
    for number, piece in enumerate(_pieces(data, random)):
        within_ns = random.choice((0, 5 + number))
        end_ns = random.choice((0, within_ns))
        times.append((10**18 + 1000 * number, 10**18 + 1000 * number + 7, within_ns, end_ns))
        source.frames.feed(piece, *times[-1])
        at += len(piece)
        ends.append(at)
    expected: list[Row] = []
    at = which = 0
    for frame, text in stream:
        row = None if text is None else known[text]
        at += len(frame)
        while ends[which] < at:
            which += 1
        if row is not None:
            arrival_ns, read_ns, within_ns, end_ns = times[which]
            uncertain_ns = end_ns if at == ends[which] else within_ns
            expected.append([row[0], arrival_ns, read_ns, uncertain_ns, *row[4:]])
    found = rows_in(rows)
    if found != expected:
        raise Different(f"in pieces: {_first_difference(found, expected)}")


def check_thread(stream: list[Part], batch: list[Made], known: Known, random: Random) -> None:
    """Send the stream in pieces to the receive thread; raises Different on a wrong row."""
    fast_path, rows = new_fast_path(batch[0].stamps)
    source = Reading(rows, fast_path, known)
    poller = native.Poller(lambda source, error: source.failed(error))
    ours, peer = socket.socketpair()
    with ours, peer:
        ours.setblocking(False)
        peer.setblocking(False)
        descriptor = ours.fileno()
        begun_ns = now_ns()
        poller.add(descriptor, cast("Source", source), begun_ns)

        def route() -> None:
            whole = source.whole
            poller.route(descriptor, whole, fast_path if whole is not None else None)

        source.route = route
        route()
        data = b"".join(frame for frame, _ in stream) + frames.text_frame(END)
        deadline = time.monotonic() + PATIENCE_S
        for piece in _pieces(data, random):
            while piece:
                try:
                    piece = piece[peer.send(piece) :]
                except BlockingIOError:
                    select.select([], [peer], [], 0.001)
                    poller.process(1_000)
            kind = random.random()
            if kind < 0.2:
                poller.process(random.choice((1, 3, 1_000)))
            elif kind < 0.25:
                # Set the fast path again. If the thread has kept a part of a frame, Python gets that part first.
                route()
            elif kind < 0.4:
                time.sleep(0)
        while not source.ended:
            if time.monotonic() > deadline:
                raise Different(f"the stream did not end: {source.errors}")
            select.select([poller.fileno()], [], [], 0.05)
            poller.process(1_000)
        poller.remove(descriptor)
    found = rows_in(rows)
    expected = [row for _, text in stream if text is not None and (row := known[text]) is not None]
    if [[row[0], *row[4:]] for row in found] != [[row[0], *row[4:]] for row in expected]:
        raise Different(f"through the thread: {_first_difference(found, expected)}")
    before_ns = begun_ns
    for _, arrival_ns, read_ns, uncertain_ns, *_ in found:
        if not (
            before_ns <= read_ns
            and begun_ns - 1_000_000 <= arrival_ns - uncertain_ns <= arrival_ns <= read_ns
        ):
            raise Different(
                f"impossible times: {arrival_ns} less {uncertain_ns}, {read_ns} after {before_ns}"
            )
        before_ns = read_ns


def _first_difference(found: list[Row], expected: list[Row]) -> str:
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            return f"row {place} is {one}, and should be {other}"
    return f"{len(found)} rows, and there should be {len(expected)}"


def check_stream(batch: list[Made], random: Random, through_thread: bool = True, times: int = 1) -> int:
    """Check a batch as a stream with `check_fed` and `check_thread`, ``times`` times in different pieces.

    Return the number of messages in all these streams. Without ``through_thread``, `check_thread` is left out. Raises
    Different.
    """
    read = reader(batch[0].stamps)
    known = {made.text: by_python(made.text, read) for made in batch} | {b"": None}
    count = 0
    for _ in range(times):
        stream = list(parts(batch, random))
        check_fed(stream, batch, known, random)
        if through_thread:
            check_thread(stream, batch, known, random)
        count += sum(text is not None for _, text in stream)
    return count
