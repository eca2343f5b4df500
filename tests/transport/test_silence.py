"""A connection on which nothing comes any more is noticed; a generator that stood still is not taken for that."""

import contextlib
import heapq
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.clock import now_ns
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.server.process import Announcement, ServerProcess
from loadgen.transport.silence import SilenceWatch, last_data_ns, unread_bytes
from tests.transport.quiet import QuietRelay
from tests.transport.test_websocket import converse, wait_for

MS = 1_000_000


# By a clock of its own.


@dataclass
class Clock:
    """Time that passes only while somebody sleeps; sleeps may take longer, as by `stalls` (ns by number)."""

    now: int = 0
    stalls: dict[int, int] = field(default_factory=dict)
    at: list[tuple[int, int, Callable[[], None]]] = field(default_factory=list)
    sleeps: int = 0

    def monotonic_ns(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9) + self.stalls.get(self.sleeps, 0)
        self.sleeps += 1
        while self.at and self.at[0][0] <= self.now:
            heapq.heappop(self.at)[2]()


class Source:
    """A connection: what it hears, and what waits in the kernel."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.heard = clock.now
        self.unread = False
        self.silent: list[int] = []

    def quiet_ns(self) -> int:
        return self.clock.now - self.heard

    def has_unread(self) -> bool:
        return self.unread

    def failed(self, error: BaseException) -> None:
        raise error

    def on_silent(self, heard_ns: int) -> None:
        self.silent.append(self.clock.now)


def watched(clock: Clock, *timeouts_ms: int) -> tuple[SilenceWatch, list[Source]]:
    watch = SilenceWatch(clock.monotonic_ns, clock.sleep)
    watch._watching = gevent.Greenlet()  # the test runs it
    sources = [Source(clock) for _ in timeouts_ms]
    for source, timeout_ms in zip(sources, timeouts_ms, strict=True):
        watch.add(source, timeout_ms * MS, source.on_silent)
    return watch, sources


@given(st.lists(st.integers(100, 5_000), min_size=1, max_size=20))
def test_each_is_told_once_at_its_time(timeouts_ms: list[int]) -> None:
    clock = Clock()
    watch, sources = watched(clock, *timeouts_ms)
    watch.watch()
    for source, timeout_ms in zip(sources, timeouts_ms, strict=True):
        assert source.silent == [timeout_ms * MS]


@given(st.lists(st.integers(1, 2_900), min_size=1, max_size=30))
def test_what_is_heard_in_time_is_never_silent_and_costs_a_look_a_timeout(gaps_ms: list[int]) -> None:
    clock = Clock()
    watch, (source,) = watched(clock, 3_000)
    looks = 0
    quiet_ns = source.quiet_ns

    def counted() -> int:
        nonlocal looks
        looks += 1
        return quiet_ns()

    source.quiet_ns = counted  # type: ignore[method-assign]
    at, last = 0, 0
    for number, gap_ms in enumerate(gaps_ms):
        at += gap_ms * MS
        last = at

        def heard(at: int = at) -> None:
            source.heard = max(source.heard, at)

        clock.at.append((at, number, heard))
    watch.watch()
    # Within a tick, as what is heard is told when a sleep ends.
    assert source.silent == [pytest.approx(last + 3_000 * MS, abs=0)]
    # However much came: at each look at most so much is left as has passed since something was heard.
    assert looks <= len(gaps_ms) + 2


def test_time_in_which_the_event_loop_stood_still_does_not_count() -> None:
    # Ten seconds in which nobody read: the window may have been full, and the peer could not send.
    clock = Clock(stalls={2: 10_000 * MS})
    watch, (source,) = watched(clock, 3_000)
    watch.watch()
    assert source.silent == [13_000 * MS]


def test_what_waits_in_the_kernel_is_no_silence() -> None:
    clock = Clock()
    watch, (source,) = watched(clock, 1_000)
    source.unread = True

    def read() -> None:
        source.unread = False

    heapq.heappush(clock.at, (5_000 * MS, 0, read))
    watch.watch()
    assert 5_000 * MS <= source.silent[0] <= 5_200 * MS


def test_what_was_cancelled_is_not_looked_at() -> None:
    clock = Clock()
    watch = SilenceWatch(clock.monotonic_ns, clock.sleep)
    source = Source(clock)
    watch._watching = gevent.Greenlet()
    watch.add(source, 1_000 * MS, source.on_silent).cancel()
    watch.watch()
    assert not source.silent


def test_what_a_connection_raises_ends_that_connection_and_the_others_are_watched_on() -> None:
    clock = Clock()
    watch, (first, second) = watched(clock, 1_000, 2_000)
    failed: list[BaseException] = []

    def broken() -> int:
        raise OSError("no such socket")

    first.quiet_ns, first.failed = broken, failed.append  # type: ignore[method-assign, assignment]  # fakes
    watch.watch()
    assert [str(error) for error in failed] == ["no such socket"]
    assert not first.silent
    assert second.silent == [2_000 * MS]


# By real sockets.


def test_the_kernel_says_when_data_last_came() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            time.sleep(0.3)
            quiet_ns = last_data_ns(client)
            if quiet_ns is None:
                pytest.skip("the kernel does not tell")
            assert quiet_ns >= 290 * MS
            assert unread_bytes(client) == 0
            server.send(b"12345")
            time.sleep(0.05)
            assert unread_bytes(client) == 5
            # Also of what nobody has read.
            assert (last_data_ns(client) or 0) < quiet_ns


def through(server: Announcement, relay: QuietRelay) -> AppSyncEvents:
    parts = urlsplit(server.http_url)
    url = f"{parts.scheme}://127.0.0.1:{relay.port}{parts.path}"
    return AppSyncEvents(Endpoints.from_url(url), ApiKey(server.api_key))


def a_silent_connection_is_told_of(server: Announcement) -> None:
    with QuietRelay(urlsplit(server.http_url).port or 0) as relay:
        service = through(server, relay)
        connection, _, _, _ = converse(service)
        silent: list[tuple[int, int]] = []
        begun_ns = now_ns()
        connection.watch_silence(600 * MS, lambda heard_ns: silent.append((heard_ns, now_ns())))
        # Pings are answered, and so it is heard.
        for _ in range(10):
            connection.ping()
            gevent.sleep(0.15)
        assert not silent
        relay.silent.set()
        connection.ping()
        silenced_ns = now_ns()
        wait_for(lambda: silent)
        ((heard_ns, told_ns),) = silent
        assert begun_ns < heard_ns <= silenced_ns + 50 * MS
        assert told_ns - heard_ns >= 599 * MS
        connection.abort()
        # No more of it: it has ended.
        assert connection._silence is None
        relay.silent.clear()


@pytest.mark.usefixtures("inlet_kind")
def test_a_silent_connection_over_plain_tcp(silent_server: Announcement) -> None:
    a_silent_connection_is_told_of(silent_server)


@pytest.mark.usefixtures("inlet_kind")
def test_a_silent_connection_over_tls(trusted: Announcement) -> None:
    a_silent_connection_is_told_of(trusted)


@pytest.fixture(scope="module")
def silent_server() -> Iterator[Announcement]:
    with ServerProcess() as server:
        yield server.announcement


STOPPED = """
import socket, sys, gevent, time
from loadgen.transport.silence import SilenceWatch, last_data_ns, unread_bytes
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
sock.setblocking(False)

class Source:
    def quiet_ns(self): return last_data_ns(sock)
    def has_unread(self): return unread_bytes(sock) > 0
    def failed(self, error): raise error

def read():
    while True:
        try:
            sock.recv(65536)
        except BlockingIOError:
            pass
        gevent.sleep(0.005)

gevent.spawn(read)
SilenceWatch.add(watch := SilenceWatch(), Source(), 1_000_000_000, lambda _: print("silent", flush=True))
print("ready", flush=True)
gevent.sleep(30)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_a_generator_that_was_stopped_is_not_taken_for_a_silent_service(tmp_path: Path) -> None:
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = subprocess.Popen(
            [sys.executable, str(script), str(listener.getsockname()[1])], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        server, _ = listener.accept()
        with server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            server.setblocking(False)
            assert process.stdout.readline() == "ready\n"
            stopped = False
            begun = time.monotonic()
            # It sends all the time; while the process is stopped the window fills and nothing more can come.
            while (passed := time.monotonic() - begun) < 4.5:
                with contextlib.suppress(BlockingIOError):
                    server.send(bytes(65536))
                if not stopped and passed > 0.5:
                    process.send_signal(signal.SIGSTOP)
                    stopped = True
                if stopped and passed > 3.5:
                    process.send_signal(signal.SIGCONT)
                time.sleep(0.002)
            assert not select.select([process.stdout], [], [], 0)[0]
            # And now it is the service that is silent.
            assert process.stdout.readline() == "silent\n"
        process.kill()
        process.communicate()
