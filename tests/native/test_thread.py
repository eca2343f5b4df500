"""Test that the receive thread reads while Python is busy, limits what it queues, and never uses freed memory."""

import contextlib
import fcntl
import gc
import itertools
import select
import socket
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any, cast

import gevent
import numpy as np
import pytest

from loadgen import native
from loadgen.measure.clock import now_ns
from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames
from loadgen.transport import poller as pollers
from loadgen.transport.polled_source import Source
from tests.listening import connected

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
#: Size of an item in the queue, without its data.
OVERHEAD_BYTES = 200
LARGEST_READ = 4 + 65_535
#: Python's switch interval in seconds for tests that send from another thread: a short one lets it send sooner.
TURNS_S = 0.0002
SO_TIMESTAMPNS = 35


def delivery(sequence: int, subscription_id: str = "s1") -> bytes:
    return frames.text_frame(messages.data(subscription_id, encode_event(7, 1, sequence, 3, 4, 90)))


class Taking:
    """A source for the poller that keeps the data it receives, and the (arrival, read) times of each read."""

    whole = None

    def __init__(self) -> None:
        self.data = bytearray()
        self.reads: list[tuple[int, int]] = []
        self.errors: list[BaseException] = []
        self.ends = 0

    def take(self, data: bytes, arrival_ns: int, read_ns: int, *_: int) -> None:
        self.data += data
        self.ends += not data
        self.reads.append((arrival_ns, read_ns))

    def broke(self, error: OSError) -> None:
        self.errors.append(error)

    def failed(self, error: BaseException) -> None:
        self.errors.append(error)


def add(poller: native.Poller, sock: socket.socket, source: object) -> None:
    poller.add(sock.fileno(), cast("Source", source), now_ns())


def process_until(poller: native.Poller, condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "not everything arrived"
        select.select([poller.fileno()], [], [], 0.05)
        poller.process(256)


def rows_of(rows: native.Rows) -> list[list[int]]:
    found: list[list[int]] = []
    for buffer, used in rows.take():
        found += np.frombuffer(memoryview(buffer), dtype=np.int64, count=used // 8).reshape(-1, 9).tolist()
        rows.give_back(buffer)
    return found


def test_a_busy_interpreter_delays_no_read() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 1000)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    taking, other = Taking(), Taking()
    with connected() as (fast, fast_peer), connected() as (slow, slow_peer):
        add(poller, fast, taking)
        poller.route(fast.fileno(), None, fast_path)
        add(poller, slow, other)

        def send() -> None:
            for sequence in range(30):
                fast_peer.sendall(delivery(sequence))
                slow_peer.sendall(b"x")
                time.sleep(0.01)

        sender = threading.Thread(target=send)
        begun_ns, deadline = now_ns(), time.monotonic() + PATIENCE_S
        sender.start()
        written: list[list[int]] = []
        # Python is busy all the time and does not process the queue.
        while now_ns() - begun_ns < 300_000_000 or len(written) < 30 or not poller.waiting(slow.fileno()):
            written += rows_of(rows)
            assert time.monotonic() < deadline
        sender.join()
        free_ns = now_ns()
        assert other.reads == []
        process_until(poller, lambda: len(other.data) == 30)
        poller.remove(fast.fileno())
        poller.remove(slow.fileno())
    assert [row[6] for row in written] == list(range(30))
    assert all(begun_ns <= row[2] < free_ns for row in written)
    # The rows were written as deliveries arrived, not all together later.
    assert written[-1][2] - written[0][2] > 200_000_000
    early = [read_ns for _, read_ns in other.reads if read_ns < free_ns]
    assert early
    assert taking.data == b""
    assert not taking.errors
    assert not other.errors


def test_the_hub_learns_of_a_read_without_polling() -> None:
    poller = pollers.NativePoller()
    taking = Taking()
    with connected() as (ours, peer):
        poller.add(ours.fileno(), cast("Source", _with_times(taking)))
        peer.sendall(b"abc")
        with gevent.Timeout(PATIENCE_S):
            while taking.data != b"abc":
                gevent.sleep(0.001)
        assert poller.has_waiting(ours.fileno()) is False
        assert poller.priority() in ("normal", "real-time")
        poller.remove(ours.fileno())


def test_the_threads_cpu_time_is_its_own_and_grows_as_it_reads() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    assert poller.cpu_ns() is None
    taking = Taking()
    with connected() as (ours, peer):
        add(poller, ours, taking)
        # CPU time used by Python must not count as the thread's.
        busy_until_ns = time.thread_time_ns() + 100_000_000
        while time.thread_time_ns() < busy_until_ns:
            pass
        before_ns = poller.cpu_ns()
        assert before_ns is not None
        assert before_ns < 50_000_000
        deadline = time.monotonic() + PATIENCE_S
        while (used_ns := poller.cpu_ns()) is not None and used_ns < before_ns + 2_000_000:
            assert time.monotonic() < deadline
            peer.sendall(b"x" * 1000)
            poller.process(100)
        assert used_ns is not None
        poller.remove(ours.fileno())


def _with_times(taking: Taking) -> Taking:
    taking.since_ns = taking.stamp_ns = now_ns()  # type: ignore[attr-defined]
    return taking


def unread(sock: socket.socket) -> int:
    found = bytearray(4)
    fcntl.ioctl(sock.fileno(), termios.FIONREAD, found)
    return int.from_bytes(found, sys.byteorder)


@pytest.mark.parametrize("most_bytes", [1, 100_000, 1_000_000])
def test_what_waits_for_python_is_bounded_and_nothing_is_lost(most_bytes: int) -> None:
    poller = native.Poller(lambda source, error: source.failed(error), most_bytes)
    taking, quiet = Taking(), Taking()
    sent = bytearray()
    with connected() as (ours, peer), connected() as (another, its_peer):
        add(poller, ours, taking)
        add(poller, another, quiet)
        peer.setblocking(False)
        deadline = time.monotonic() + PATIENCE_S
        stalled_s: float | None = None
        # Send until the thread reads no more and the socket's buffers are full.
        while stalled_s is None or time.monotonic() - stalled_s < 0.2:
            assert time.monotonic() < deadline
            piece = len(sent).to_bytes(8, "big") * 1000
            try:
                sent += piece[: peer.send(piece)]
                stalled_s = None
            except BlockingIOError:
                stalled_s = stalled_s or time.monotonic()
                time.sleep(0.001)
        its_peer.sendall(b"also")
        time.sleep(0.05)
        assert unread(ours) > 0
        assert unread(another) == 4
        reads = poller.waiting(ours.fileno())
        poller.process(reads)
        held = len(taking.data)
        assert 0 < held < most_bytes + LARGEST_READ + OVERHEAD_BYTES
        process_until(poller, lambda: len(taking.data) == len(sent) and quiet.data == b"also")
        assert taking.data == sent
        poller.remove(ours.fileno())
        poller.remove(another.fileno())
    with pytest.raises(ValueError, match="at least one byte"):
        native.Poller(print, 0)


def test_a_flood_that_waits_for_room_ends_with_the_poller() -> None:
    poller = native.Poller(print, 1)
    with connected() as (ours, peer):
        add(poller, ours, Taking())
        peer.sendall(b"x" * 1000)
        while not poller.waiting(ours.fileno()):
            time.sleep(0.001)
        time.sleep(0.02)
        del poller
        gc.collect()


def test_a_socket_that_was_removed_is_read_no_more() -> None:
    """After a socket is removed, the thread must not read another socket that gets the same descriptor at once."""
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 100)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    stop = threading.Event()
    peers: list[socket.socket] = []

    def flood() -> None:
        frame = delivery(1) + b"\x89\x00"
        while not stop.is_set():
            for peer in list(peers):
                with contextlib.suppress(OSError):
                    peer.send(frame)

    thread = threading.Thread(target=flood)
    interval_s = sys.getswitchinterval()
    # With Python's default switch interval, each turn of the loop would wait about 5 ms for the sending thread.
    sys.setswitchinterval(TURNS_S)
    thread.start()
    try:
        for turn in range(600):
            ours, peer = socket.socketpair()
            ours.setblocking(False)
            peer.setblocking(False)
            descriptor = ours.fileno()
            add(poller, ours, Taking())
            poller.route(descriptor, None, fast_path if turn % 2 else None)
            peers.append(peer)
            time.sleep(0.0005)
            poller.process(10)
            poller.remove(descriptor)
            peers.remove(peer)
            ours.close()
            # The kernel gives out the lowest free descriptor, which is the one just closed.
            new, its_peer = socket.socketpair()
            assert descriptor in (new.fileno(), its_peer.fileno())
            for end, other in ((new, its_peer), (its_peer, new)):
                end.send(b"mine")
                assert other.recv(10) == b"mine"
            new.close()
            its_peer.close()
            peer.close()
            rows_of(rows)
    finally:
        sys.setswitchinterval(interval_s)
        stop.set()
        thread.join()


def test_an_end_and_an_error_are_told_once_and_after_all_data() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    ended, reset = Taking(), Taking()
    with connected() as (ours, peer), connected() as (another, its_peer):
        add(poller, ours, ended)
        add(poller, another, reset)
        peer.sendall(b"data")
        peer.shutdown(socket.SHUT_WR)
        its_peer.sendall(b"data")
        process_until(poller, lambda: reset.data == b"data")
        its_peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        its_peer.close()
        process_until(poller, lambda: ended.ends and reset.errors)
        time.sleep(0.05)
        poller.process(256)
        assert (bytes(ended.data), ended.ends, ended.errors) == (b"data", 1, [])
        assert [type(error) for error in reset.errors] == [ConnectionResetError]
        # The thread sleeps, although both sockets are still readable.
        before = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - before < 0.1
        for each in (ours, another):
            assert poller.remove(each.fileno()) > 0


def test_full_buffers_that_the_thread_fills_are_relieved_by_the_hub() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 10)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    found: list[list[int]] = []
    calls = 0

    def relief() -> None:
        nonlocal calls
        calls += 1
        for buffer, used in rows.take_oldest():
            found.extend(
                np.frombuffer(memoryview(buffer), dtype=np.int64, count=used // 8).reshape(-1, 9).tolist()
            )
            rows.give_back(buffer)

    rows.on_backpressure(3, relief)
    with connected() as (ours, peer):
        add(poller, ours, joining := Joining(fast_path))
        joining.route = lambda path: poller.route(ours.fileno(), None, path)
        poller.route(ours.fileno(), None, fast_path)
        for sequence in range(1000):
            peer.sendall(delivery(sequence))
        assert select.select([poller.fileno()], [], [], PATIENCE_S)[0]
        deadline = time.monotonic() + PATIENCE_S
        while len(found) + 40 < 1000:
            assert time.monotonic() < deadline
            select.select([poller.fileno()], [], [], 0.05)
            poller.process(256)
        poller.remove(ours.fileno())
    assert calls > 0
    found += rows_of(rows)
    assert [row[6] for row in found] == list(range(1000))


def test_rows_are_written_and_taken_at_once_and_none_is_lost() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 7)
    fast_path = native.DeliveryFastPath(rows)
    count = 20_000
    with connected() as (ours, peer):
        # `Joining` completes frames that a read has cut, so that the thread can continue after them.
        add(poller, ours, joining := Joining(fast_path))
        joining.route = lambda path: poller.route(ours.fileno(), None, path)
        fast_path.add("s1", 5)
        poller.route(ours.fileno(), None, fast_path)
        sender = threading.Thread(target=peer.sendall, args=(b"".join(map(delivery, range(count))),))
        sender.start()
        found: list[list[int]] = []
        mine, deadline = 0, time.monotonic() + PATIENCE_S
        while len(found) - mine < count:
            assert time.monotonic() < deadline
            poller.process(256)
            rows.add(99, 1, 1, (7, 1, mine, 3, 4))
            mine += 1
            fast_path.add(f"t{mine % 50}", mine)
            found += rows_of(rows)
        sender.join()
        poller.remove(ours.fileno())
    assert [row[6] for row in found if row[0] == 5] == list(range(count))
    assert [row[6] for row in found if row[0] == 99] == list(range(mine))


class Joining(Taking):
    """A source that joins the parts of a frame from several reads."""

    def __init__(self, fast_path: native.DeliveryFastPath) -> None:
        super().__init__()
        self.fast_path = fast_path
        self.partial = b""
        self.route: Any = None

    def take(self, data: bytes, *_: int) -> None:
        self.partial += data
        self.partial = self.partial[self.fast_path.take_frames(self.partial, 1, 1) :]
        self.route(None if self.partial else self.fast_path)


def wait_until_read(sock: socket.socket) -> None:
    """Wait until the thread has read all data sent so far, so that later data is in another read."""
    deadline = time.monotonic() + PATIENCE_S
    while unread(sock):
        assert time.monotonic() < deadline
        time.sleep(0.0002)
    # A read holds the socket's lock in the kernel, and the ioctl of `unread` waits for that lock. So the read is almost
    # over.
    time.sleep(0.0005)


def test_a_frame_that_several_reads_bring_is_timed_by_the_one_that_completes_it() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 1000)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    taking = Taking()
    sent = [delivery(sequence) for sequence in range(60)]
    data = b"".join(sent)
    size = len(sent[0])
    # Cut within a header, within a text, at a boundary, and after several frames.
    cuts = [
        1,
        2,
        3,
        4,
        5,
        100,
        size,
        size + 1,
        2 * size,
        2 * size + 50,
        6 * size,
        6 * size + 3,
        10 * size - 1,
    ]
    cuts += [*range(10 * size, 12 * size, 7), 20 * size, 30 * size + 100, 40 * size, len(data)]
    moments: list[tuple[int, int, int]] = []
    with connected() as (ours, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ours.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        add(poller, ours, taking)
        poller.route(ours.fileno(), None, fast_path)
        for begin, end in itertools.pairwise((0, *cuts)):
            before_ns = now_ns()
            peer.sendall(data[begin:end])
            wait_until_read(ours)
            moments.append((end, before_ns, now_ns()))
        found = rows_of(rows)
        assert poller.waiting(ours.fileno()) == 0
        poller.remove(ours.fileno())
    assert taking.data == b""
    assert [row[6] for row in found] == list(range(60))
    for number, (_, arrival_ns, read_ns, uncertain_ns, *_rest) in enumerate(found):
        end = (number + 1) * size
        cut, before_ns, after_ns = next(moment for moment in moments if moment[0] >= end)
        assert before_ns <= arrival_ns <= read_ns <= after_ns
        # The data was sent after `before_ns`, so the arrival time is right to within `uncertain_ns`.
        assert uncertain_ns >= 0
        if end == cut:
            assert uncertain_ns == 0
    for (_, before), (_, after) in itertools.pairwise(
        itertools.groupby(
            enumerate(found), lambda pair: next(m[0] for m in moments if m[0] >= (pair[0] + 1) * size)
        )
    ):
        one, other = list(before), list(after)
        assert len({row[2] for _, row in one}) <= 1
        assert not other or not one or one[-1][1][2] < other[0][1][2]


@pytest.mark.parametrize("cut", [1, 3, 60])
@pytest.mark.parametrize("how", ["routed", "ended", "reset", "removed", "another fast path"])
def test_the_beginning_of_a_frame_reaches_python_first_if_the_fast_path_gets_no_more(
    cut: int, how: str
) -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 10)
    fast_path, other = native.DeliveryFastPath(rows), native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    other.add("s1", 6)
    taking = Taking()
    first, second = delivery(1), delivery(2)
    with connected() as (ours, peer):
        add(poller, ours, taking)
        poller.route(ours.fileno(), None, fast_path)
        peer.sendall(first + second[:cut])
        wait_until_read(ours)
        assert poller.waiting(ours.fileno()) == 0
        if how == "removed":
            poller.remove(ours.fileno())
            add(poller, ours, taking)
        elif how == "routed":
            poller.route(ours.fileno(), None, None)
        elif how == "another fast path":
            poller.route(ours.fileno(), None, other)
        if how == "reset":
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            peer.close()
        else:
            peer.sendall(second[cut:] if how != "ended" else b"")
            peer.shutdown(socket.SHUT_WR)
        process_until(poller, lambda: taking.ends or taking.errors)
        poller.remove(ours.fileno())
    kept = (
        second
        if how in ("routed", "another fast path")
        else second[cut:]
        if how == "removed"
        else second[:cut]
    )
    assert taking.data == kept
    assert [type(error) for error in taking.errors] == ([ConnectionResetError] if how == "reset" else [])
    assert [(row[0], row[6]) for row in rows_of(rows)] == [(5, 1)]


def test_a_frame_that_is_too_long_for_the_fast_path_goes_to_python_at_once() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 10)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    taking = Taking()
    with connected() as (ours, peer):
        add(poller, ours, taking)
        poller.route(ours.fileno(), None, fast_path)
        head = b"\x81\x7f" + (1 << 40).to_bytes(8, "big")
        peer.sendall(delivery(1) + head[:1])
        wait_until_read(ours)
        assert poller.waiting(ours.fileno()) == 0
        peer.sendall(head[1:])
        process_until(poller, lambda: taking.data == head)
        poller.remove(ours.fileno())
    assert len(rows_of(rows)) == 1


def test_the_largest_frame_comes_in_parts_of_any_size() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.Rows(9, 10)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    taking = Taking()
    text = messages.data("s1", encode_event(7, 1, 1, 3, 4, 60_000))
    text = messages.data("s1", encode_event(7, 1, 1, 3, 4, 60_000 + 65_535 - len(text)))
    assert len(text) == 65_535
    frame = frames.text_frame(text)
    with connected() as (ours, peer):
        add(poller, ours, taking)
        poller.route(ours.fileno(), None, fast_path)
        for size in (1, 700, 30_000, 65_538):
            for at in range(0, len(frame), size if size > 1 else 20_000):
                step = size if size > 1 else 20_000
                for piece in (frame[at : at + 1], frame[at + 1 : at + step]):
                    peer.sendall(piece)
                    wait_until_read(ours)
        assert len(rows_of(rows)) == 4
        poller.remove(ours.fileno())
    assert taking.data == b""


def test_no_signal_is_handled_by_the_thread() -> None:
    poller = native.Poller(print)
    with connected() as (ours, _):
        add(poller, ours, Taking())
        deadline = time.monotonic() + PATIENCE_S
        blocked: list[int] = []
        while not blocked:
            assert time.monotonic() < deadline
            for task in Path("/proc/self/task").iterdir():
                status = (task / "status").read_text()
                if "Name:\tloadgen-receive" in status:
                    blocked.append(int(status.split("SigBlk:\t")[1].split()[0], 16))
        # All signals must be blocked, except those that cannot be, and the C library's own (32, 33).
        can = ((1 << 31) - 1) & ~(1 << 8 | 1 << 18)
        assert all(mask & can == can for mask in blocked)
        poller.remove(ours.fileno())
