"""Test that Python code called by the receive path may change anything.

Every message is still seen once, and nothing in use is freed. Only a build with sanitizers would notice memory that was
freed too early (see sanitized.py).
"""

import contextlib
import gc
import re
import resource
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import pytest

from loadgen import native
from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames
from loadgen.transport.polled_source import Source

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

SOCKETS = 3
DELIVERIES = 4
MARK = re.compile(rb'_lg\\":\[7,1,(\d+),')
#: From linux/socket.h of 64-bit systems.
SO_TIMESTAMPNS = 35


def delivery(sequence: int) -> bytes:
    return frames.text_frame(messages.data("s1", encode_event(7, 1, sequence, 3, 4, 90)))


#: A message that no fast path takes; it contains ``sequence``.
def other(sequence: int) -> bytes:
    return frames.text_frame(messages.data("s2", encode_event(7, 1, sequence, 3, 4, 90)))


def record(content: bytes) -> bytes:
    """Return what looks like a TLS record of application data; `Connection` "decrypts" it."""
    return b"\x17\x03\x03" + len(content).to_bytes(2, "big") + content


def as_source(of: object) -> Source:
    """Cast an object to a source; `Connection` has all members that the poller uses."""
    return cast("Source", of)


class Connection:
    """A `Source` over a real TCP connection that counts every message it receives."""

    def __init__(self, world: "World", number: int, tls: bool) -> None:
        self.world, self.number = world, number
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.peer = socket.create_connection(listener.getsockname())
            self.socket, _ = listener.accept()
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.descriptor = self.socket.fileno()
        self.fast_path: native.DeliveryFastPath | None = native.DeliveryFastPath(world.rows)
        self.fast_path.add("s1", number)
        self.tls = tls
        self.incoming = bytearray()
        self.bytes = bytearray()
        self.errors: list[BaseException] = []
        self.ended = False
        self.removed = False
        self.dropped = False

    def send(self) -> None:
        content = b"".join(map(delivery, range(DELIVERIES))) + other(DELIVERIES)
        more = delivery(DELIVERIES + 1)
        self.peer.sendall(record(content) + record(more) if self.tls else content + more)

    def take(self, data: bytes, *_: int) -> None:
        self.ended = self.ended or not data
        self.bytes += data
        self.world.called("take", self)

    def whole(self, text: bytes, *_: int) -> None:
        self.bytes += text
        self.world.called("whole", self)

    def broke(self, error: OSError) -> None:
        self.errors.append(error)
        self.world.called("broke", self)

    def take_plaintext(self, data: bytes, *_: int) -> None:
        self.bytes += data
        self.world.called("take_plaintext", self)

    def tls_stopped(self, error: Exception, *_: int) -> None:
        if not isinstance(error, LookupError):
            self.errors.append(error)
        self.world.called("tls_stopped", self)

    def tls_write(self, data: bytes) -> None:
        self.incoming += data
        self.world.called("tls_write", self)

    def tls_read(self, size: int, into: bytearray) -> int:
        self.world.called("tls_read", self)
        if self.world.kind == "tls_stopped" or not self.incoming:
            # Act as if a TLS record held no application data. Count its bytes here, as the poller cannot.
            self.bytes += self.incoming
            self.incoming.clear()
            raise LookupError("want read")
        length = int.from_bytes(self.incoming[3:5], "big")
        into[:length] = self.incoming[5 : 5 + length]
        del self.incoming[: 5 + length]
        return length

    def route(self, fast_path: native.DeliveryFastPath | None) -> None:
        if self.tls:
            self.world.poller.route(self.descriptor, None, fast_path, self.tls_write, self.tls_read)
        else:
            self.world.poller.route(self.descriptor, self.whole, fast_path)


class World:
    """A poller with some connections. The first callback of the given kind calls ``change``; later ones do not."""

    def __init__(self, kind: str, change: Callable[["World", Connection], None]) -> None:
        self.kind, self.change = kind, change
        self.changes = 0
        self.rows = native.Rows(9, 1 if kind == "relief" else 1000)
        self.seen: Counter[tuple[int, int]] = Counter()
        self.contained: list[BaseException] = []
        self.poller = native.Poller(self.contain)
        self.rows.on_backpressure(1, self.relief)
        self.extra: list[socket.socket] = []
        self.kept: list[object] = []
        tls = kind in ("tls_write", "tls_read", "take_plaintext", "tls_stopped")
        self.connections = [Connection(self, number, tls) for number in range(SOCKETS)]
        for connection in self.connections:
            self.poller.add(connection.descriptor, as_source(connection), 1)
            connection.route(connection.fast_path)

    def called(self, kind: str, connection: Connection) -> None:
        if kind == self.kind and not self.changes:
            self.changes += 1
            self.change(self, connection)

    def contain(self, source: Any, error: BaseException) -> None:
        self.contained.append(error)
        if self.kind == "contain":
            self.called("contain", source)

    def relief(self) -> None:
        self.called("relief", self.connections[0])
        self.collect()

    def collect(self) -> None:
        for buffer, used in self.rows.take():
            for row in (
                np.frombuffer(memoryview(buffer), dtype=np.int64, count=used // 8).reshape(-1, 9).tolist()
            ):
                self.seen[row[0], row[6]] += 1
            with contextlib.suppress(ValueError):
                self.rows.give_back(buffer)

    def read_all(self) -> None:
        deadline = time.monotonic() + 20
        while not all(each.ended or each.removed or each.errors for each in self.connections):
            assert time.monotonic() < deadline, "not everything arrived"
            self.process()

    def process(self) -> None:
        """Process what the thread has read; if there is nothing, wait a while."""
        select.select([self.poller.fileno()], [], [], 0.05)
        self.poller.process(256)

    def close(self) -> None:
        for connection in self.connections:
            connection.socket.close()
            connection.peer.close()
        for each in self.extra:
            each.close()


# The following functions are changes that a callback may make.


def remove_itself(world: World, connection: Connection) -> None:
    world.poller.remove(connection.descriptor)
    connection.removed = True


def remove_another(world: World, connection: Connection) -> None:
    remove_itself(world, world.connections[(connection.number + 1) % SOCKETS])


def remove_all(world: World, connection: Connection) -> None:
    for each in world.connections:
        remove_itself(world, each)


def add_many(world: World, connection: Connection) -> None:
    """Add so many sources that the poller must allocate a larger table for them."""
    for number in range(400):
        ours, theirs = socket.socketpair()
        world.extra += [ours, theirs]
        world.poller.add(ours.fileno(), as_source(Idle(number)), 1)


def remove_and_add_again(world: World, connection: Connection) -> None:
    """Remove the connection and add it again, which discards data read before."""
    connection.dropped = True
    since_ns = world.poller.remove(connection.descriptor)
    add_many(world, connection)
    world.poller.add(connection.descriptor, as_source(connection), since_ns)
    connection.route(connection.fast_path)


def give_another_fast_path(world: World, connection: Connection) -> None:
    """Replace the fast path, which frees the last reference to the old one."""
    connection.fast_path = native.DeliveryFastPath(world.rows)
    connection.fast_path.add("s1", connection.number)
    connection.route(connection.fast_path)
    gc.collect()


def route_by_an_end_that_adds(world: World, connection: Connection) -> None:
    """Make `route` free an object whose finalizer adds so many sources that the poller allocates a new table."""
    if not connection.tls:
        world.poller.route(
            connection.descriptor, Finalized(lambda: add_many(world, connection)), connection.fast_path
        )
    connection.route(connection.fast_path)


def remove_by_an_end_that_adds(world: World, connection: Connection) -> None:
    ours, theirs = socket.socketpair()
    world.extra += [ours, theirs]
    world.poller.add(ours.fileno(), as_source(Idle(0)), 1)
    world.poller.route(ours.fileno(), Finalized(lambda: add_many(world, connection)), None)
    world.poller.remove(ours.fileno())


def clear_the_fast_path(world: World, connection: Connection) -> None:
    assert connection.fast_path is not None
    connection.fast_path.clear()


def fill_the_fast_path(world: World, connection: Connection) -> None:
    assert connection.fast_path is not None
    for number in range(300):
        connection.fast_path.add(f"more{number}", number)


def add_rows(world: World, connection: Connection) -> None:
    for sequence in range(5):
        world.rows.add(99, 1, 1, (7, 1, sequence, 3, 4))


def take_rows(world: World, connection: Connection) -> None:
    world.collect()


def take_frames(world: World, connection: Connection) -> None:
    assert connection.fast_path is not None
    frame = delivery(1000)
    assert connection.fast_path.take_frames(frame, 1, 1) == len(frame)


def relieve_by_another(world: World, connection: Connection) -> None:
    world.rows.on_backpressure(1, world.collect)


def read(world: World, connection: Connection) -> None:
    with pytest.raises(RuntimeError, match="being processed"):
        world.poller.process(10)


def give_back_what_is_still_seen(world: World, connection: Connection) -> None:
    """Give buffers back to the rows while numpy arrays still refer to them."""
    for buffer, used in world.rows.take():
        rows = np.frombuffer(memoryview(buffer), dtype=np.int64, count=used // 8).reshape(-1, 9)
        for row in rows.tolist():
            world.seen[row[0], row[6]] += 1
        world.rows.give_back(buffer)
        world.kept.append(rows)


def lose_the_poller(world: World, connection: Connection) -> None:
    """Delete the attribute `world.poller` during a call of the poller, collect garbage, and restore the attribute."""
    kept = world.poller
    del world.poller
    gc.collect()
    world.poller = kept


def fail(world: World, connection: Connection) -> None:
    raise RuntimeError("mine")


CHANGES = [
    remove_itself, remove_another, remove_all, add_many, remove_and_add_again, give_another_fast_path,
    route_by_an_end_that_adds, remove_by_an_end_that_adds, clear_the_fast_path, fill_the_fast_path, add_rows, take_rows,
    take_frames, relieve_by_another, read, give_back_what_is_still_seen, lose_the_poller, fail,
]  # fmt: skip
KINDS = [
    "take", "whole", "broke", "contain", "relief", "tls_write", "tls_read", "take_plaintext", "tls_stopped",
]  # fmt: skip


class Idle:
    """A source from which nothing is read."""

    def __init__(self, number: int) -> None:
        self.number = number


class Finalized:
    """An object that calls ``act`` when it is freed."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def __call__(self, *_: object) -> None:
        raise AssertionError("it is there to be let go of")

    def __del__(self) -> None:
        self.act()


@pytest.fixture(autouse=True, scope="module")
def _stamps() -> Iterator[None]:
    """Open a socket that asks for kernel timestamps, wait until data has them, and keep it open during the tests.

    The kernel begins to stamp data a while after a first socket asks for it, and stops when no such socket is left.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with peer, ours:
        ours.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        deadline = time.monotonic() + 20
        stamped: list[Any] = []
        while not stamped:
            assert time.monotonic() < deadline, "the kernel gives no stamps"
            peer.sendall(b"x")
            _, stamped, _, _ = ours.recvmsg(1, 64)
        yield


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_callback_does_each_message_is_seen_once(
    kind: str, change: Callable[[World, Connection], None]
) -> None:
    world = World(kind, change)
    for connection in world.connections:
        if kind == "whole":
            connection.peer.sendall(other(0))
        elif kind == "broke" and connection.number == 0:
            # Reset the connection instead of ending it.
            connection.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.peer.close()
            continue
        else:
            connection.send()
    if kind == "contain":
        # Make the poller's call of `take` fail, so that it calls the error callback.
        world.connections[0].take = None  # type: ignore[method-assign,assignment]
    if kind == "whole":
        for connection in world.connections:
            deadline = time.monotonic() + 20
            while not world.poller.waiting(connection.descriptor) and time.monotonic() < deadline:
                time.sleep(0.001)
        world.process()
        for connection in world.connections:
            connection.send()
    for connection in world.connections:
        with contextlib.suppress(OSError):
            connection.peer.shutdown(socket.SHUT_WR)
    if kind == "contain":
        world.connections[0].ended = True
        deadline = time.monotonic() + 20
        while not world.changes and time.monotonic() < deadline:
            world.process()
    world.read_all()
    world.collect()
    assert world.changes == 1
    first = [(0, 0)] if kind == "whole" else []
    for connection in world.connections:
        number = connection.number
        seen = Counter(int(found) for found in MARK.findall(bytes(connection.bytes)))
        seen += Counter(
            {sequence: count for (which, sequence), count in world.seen.items() if which == number}
        )
        seen.pop(1000, None)
        wanted = Counter(range(DELIVERIES + 2)) + Counter(sequence for _, sequence in first)
        if kind == "broke" and number == 0:
            wanted.clear()
        incomplete = connection.removed or connection.dropped or (kind == "contain" and number == 0)
        incomplete = incomplete or (change is fail and kind.startswith(("tls_", "take_plain")))
        if incomplete:
            assert seen <= wanted
        else:
            assert seen == wanted
    if change is fail and kind == "tls_read":
        assert [str(error) for each in world.connections for error in each.errors] == ["mine"]
    elif change is fail and kind not in ("relief", "contain"):
        assert [str(error) for error in world.contained] == ["mine"]
    elif kind != "contain":
        assert world.contained == []
    added = {sequence for (which, sequence) in world.seen if which == 99}
    assert added == (set(range(5)) if change is add_rows else set())
    world.close()


@pytest.mark.parametrize("nested", ["add", "take", "take_oldest", "clear"])
def test_a_collection_amid_the_writing_of_rows_loses_none(nested: str) -> None:
    rows = native.Rows(9, 1)
    fast_path = native.DeliveryFastPath(rows)
    fast_path.add("s1", 5)
    seen: list[int] = []
    expected: list[int] = []
    busy = False

    def collect(taken: list[tuple[native.Block, int]]) -> None:
        for buffer, used in taken:
            assert used == 72
            seen.append(int(np.frombuffer(memoryview(buffer), dtype=np.int64)[6]))

    def on_collection(phase: str, _: dict[str, int]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        if nested == "add":
            expected.append(10_000 + len(expected))
            rows.add(1, 2, 3, (7, 1, expected[-1], 3, 4))
        elif nested == "clear":
            fast_path.clear()
            fast_path.add("s1", 5)
        else:
            collect(rows.take() if nested == "take" else rows.take_oldest())
        busy = False

    # Hold many tuples, because CPython reuses freed ones and only a newly allocated one can start a
    # collection.
    kept = [(number, number) for number in range(5_000)]
    before = gc.get_threshold()
    gc.callbacks.append(on_collection)
    gc.set_threshold(1, 1_000_000, 1_000_000)
    try:
        for number in range(300):
            expected.append(number)
            if number % 2:
                rows.add(1, 2, 3, (7, 1, number, 3, 4))
            else:
                frame = delivery(number)
                assert fast_path.take_frames(frame, 1, 1) == len(frame)
            if number % 50 == 0:
                collect(rows.take())
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(on_collection)
    collect(rows.take())
    assert sorted(seen) == sorted(expected)
    assert len(kept) == 5_000
