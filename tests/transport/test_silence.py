"""Test that silent connections are noticed, and that a connection is not called silent if the generator stalled."""

import heapq
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.transport.silence import SilenceWatch
from loadgen.transport.tcp_info import last_data_ns, unread_bytes

MS = 1_000_000


# The following tests use a simulated clock.


@dataclass
class Clock:
    """Simulated time that passes only during sleeps; sleep number n takes `stalls[n]` ns longer."""

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
    """A connection: when it last received data, and whether data waits in the kernel."""

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
    watch._watching = gevent.Greenlet()  # never started; the test calls `watch` itself
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
    # Silence is noticed exactly on time here, because the simulated sleeps end exactly on time.
    assert source.silent == [pytest.approx(last + 3_000 * MS, abs=0)]
    # However much data arrives, a check is made only when the full timeout since the last data may be over.
    assert looks <= len(gaps_ms) + 2


def test_time_in_which_the_event_loop_stood_still_does_not_count() -> None:
    # During the stall of ten seconds nothing was read. So the TCP window may have been full and the peer unable to
    # send, and this time does not count as silence.
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


# The following tests use a real socket.


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
            # The kernel counts data as arrived although it has not been read yet.
            assert (last_data_ns(client) or 0) < quiet_ns
