"""Test the bounds on arrivals from the kernel's count of received bytes, on made counts and on real sockets."""

import os
import socket
from collections.abc import Iterator

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.clock import now_ns
from loadgen.transport import byte_counts
from loadgen.transport.byte_counts import ByteCounts, CountWatch, count_watch, read_bytes
from loadgen.transport.tcp_info import received_bytes
from tests.listening import connected
from tests.waiting import wait_for

linux = pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="no TCP_INFO")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with connected() as ends:
        yield ends


def test_without_a_query_nothing_is_known() -> None:
    assert ByteCounts().arrived(1) == (None, None)


def test_a_byte_arrived_between_the_last_lower_count_and_the_first_that_includes_it() -> None:
    counts = ByteCounts()
    for before_ns, count, after_ns in ((10, 0, 11), (20, 0, 21), (30, 5, 31), (40, 5, 41), (50, 9, 51)):
        counts.add(before_ns, count, after_ns)
    assert [counts.arrived(byte) for byte in (1, 5, 6, 9, 10)] == [
        (20, 31), (20, 31), (40, 51), (40, 51), (50, None),
    ]  # fmt: skip


def test_bytes_that_had_arrived_before_the_first_query_have_no_lower_bound() -> None:
    counts = ByteCounts()
    counts.add(10, 7, 12)
    assert counts.arrived(7) == (None, 12)


#: Steps of a made connection: some bytes arrive, the kernel is asked, or some of the arrived bytes are read.
steps = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.integers(1, 9)),
        st.tuples(st.just("ask"), st.integers(1, 3)),
        st.tuples(st.just("read"), st.integers(1, 20)),
    ),
    max_size=80,
)


@given(steps, st.integers(2, 8))
def test_the_truth_lies_within_the_bounds_and_the_bounds_are_the_nearest_queries(
    made: list[tuple[str, int]], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_counts, "_COUNTS_MAX", most)
        counts, arrivals_ns, asked = ByteCounts(), [0], []
        now, read, dropped = 0, 0, False
        for kind, number in made:
            now += 10
            if kind == "arrive":
                arrivals_ns += [now] * number
            elif kind == "ask":
                before_ns, now = now, now + number
                dropped = dropped or len(counts._numbers) >= most
                counts.add(before_ns, len(arrivals_ns) - 1, now)
                asked.append((before_ns, len(arrivals_ns) - 1, now))
            else:
                first, read = read + 1, min(read + number, len(arrivals_ns) - 1)
                for byte in range(first, read + 1):
                    later_than_ns, until_ns = counts.arrived(byte)
                    assert later_than_ns is None or later_than_ns < arrivals_ns[byte]
                    assert until_ns is None or until_ns > arrivals_ns[byte]
                    if not dropped:
                        lower = [before for before, count, _ in asked if count < byte]
                        higher = [after for _, count, after in asked if count >= byte]
                        assert later_than_ns == max(lower, default=None)
                        assert until_ns == min(higher, default=None)
                counts.forget(read)
        assert len(counts._numbers) <= most


@linux
def test_the_kernel_counts_bytes_whether_they_were_read_or_not(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, served = pair
    assert (received_bytes(client), read_bytes(client)) == (0, 0)
    served.sendall(b"x" * 1_000)
    wait_for(lambda: received_bytes(client) == 1_000)
    assert read_bytes(client) == 0
    assert len(client.recv(300)) == 300
    assert (received_bytes(client), read_bytes(client)) == (1_000, 300)


def test_a_closed_socket_and_one_that_is_not_tcp_cannot_tell(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, _ = pair
    client.close()
    assert received_bytes(client) is None
    assert read_bytes(client) is None
    one, other = socket.socketpair()
    with one, other:
        assert received_bytes(one) is None


@linux
def test_if_data_keeps_arriving_while_it_is_counted_the_read_bytes_are_unknown(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = iter(range(1_000))
    monkeypatch.setattr(byte_counts, "received_bytes", lambda _: next(numbers))
    assert read_bytes(pair[0]) is None


@linux
def test_the_watch_asks_all_connections_until_they_are_removed_or_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    client, served = pair
    watch, counts = CountWatch(), ByteCounts()
    before_ns = now_ns()
    watch.add(counts, client)
    wait_for(lambda: counts.arrived(1)[0] is not None)
    sending_ns = now_ns()
    served.sendall(b"x" * 10)
    wait_for(lambda: counts.arrived(10)[1] is not None)
    after_ns, not_after_ns = counts.arrived(10)
    assert after_ns is not None
    assert not_after_ns is not None
    assert before_ns < after_ns < not_after_ns < now_ns()
    assert not_after_ns > sending_ns
    watch.remove(counts)
    wait_for(lambda: watch._asking is not None and watch._asking.dead)
    # A later connection is asked too, until its socket is closed.
    watch.add(counts, client)
    client.close()
    wait_for(lambda: not watch._asked)


def test_many_connections_share_the_queries_of_a_second(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(byte_counts, "received_bytes", lambda _: 0)
    waits_s: list[float] = []

    def sleep(wait_s: float) -> None:
        waits_s.append(wait_s)
        # Leave one connection, then none.
        for counts in list(asked)[1 if len(waits_s) == 1 else 0 :]:
            asked.remove(counts)
            watch.remove(counts)

    watch, asked = CountWatch(sleep=sleep), [ByteCounts() for _ in range(3_001)]
    for counts in asked:
        watch.add(counts, pair[0])
    wait_for(lambda: not asked)
    assert waits_s == [1.5005, 0.002]


def test_each_event_loop_has_one_watch_and_a_forked_process_another(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = count_watch()
    assert count_watch() is mine
    assert gevent.get_hub().threadpool.apply(count_watch) is not mine
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert count_watch() is not mine
