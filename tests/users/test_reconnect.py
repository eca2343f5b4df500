"""Test the waits before a client reconnects, by policy and by the reason for the connection's end."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from loadgen.resolve import Behaviour, LifetimePlan, ReconnectPlan
from loadgen.users.reconnect import LEAVE, ReconnectPolicy

MS = 1_000_000


def returning(
    first_ms: int = 100, most_ms: int = 5_000, jitter: bool = False, again: bool = True
) -> ReconnectPolicy:
    return ReconnectPolicy(Behaviour(ReconnectPlan(first_ms * MS, most_ms * MS, jitter, again, "seed")))


def test_without_jitter_waits_double_up_to_the_most_and_begin_anew_after_a_success() -> None:
    client = returning()
    assert [client.wait_s(None) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    client.connected()
    assert client.wait_s("drop 1") == 0.1


@given(st.integers(1, 1_000), st.integers(1, 20_000), st.integers(0, 80))
def test_waits_with_full_jitter_lie_below_those_without(first_ms: int, more_ms: int, attempts: int) -> None:
    even = returning(first_ms, first_ms + more_ms)
    drawn = returning(first_ms, first_ms + more_ms, jitter=True)
    for _ in range(attempts):
        most, wait = even.wait_s(None), drawn.wait_s(None)
        assert most is not None
        assert wait is not None
        assert 0 <= wait < most <= (first_ms + more_ms) / 1e3


def test_full_jitter_is_spread_and_the_same_each_time() -> None:
    def waits() -> list[float | None]:
        client = returning(1_000, 1_000, jitter=True)
        return [client.wait_s(None) for _ in range(200)]

    found = [wait or 0.0 for wait in waits()]
    assert found == waits()
    assert min(found) < 0.05
    assert max(found) > 0.95
    assert len(set(found)) == 200
    assert any(later < earlier for earlier, later in pairwise(found))


def test_never_is_about_coming_back_and_not_about_the_first_connection() -> None:
    client = returning(again=False)
    assert client.wait_s(None) == 0.1
    client.connected()
    assert client.wait_s(None) is None
    assert client.wait_s("drop 1") is None


def test_who_left_comes_back_when_it_said_so_whatever_the_policy() -> None:
    churn = LifetimePlan(1_000 * MS, True, 250 * MS, 0, "seed")
    client = ReconnectPolicy(Behaviour(ReconnectPlan(MS, MS, False, False, "seed"), churn=churn))
    client.connected()
    assert client.wait_s(LEAVE) == 0.25


@given(st.integers(1, 60), st.integers(0, 20))
def test_who_is_told_when_to_come_again_comes_later_and_not_all_at_once(asked_s: int, attempts: int) -> None:
    client = returning(100, 400, jitter=True)
    waits = [client.wait_s(None, float(asked_s)) or 0.0 for _ in range(attempts + 2)]
    assert all(asked_s <= wait <= 1.25 * asked_s for wait in waits)
    assert len(set(waits)) == len(waits)


def test_a_longer_wait_of_ones_own_stays() -> None:
    client = returning(4_000, 8_000)
    assert client.wait_s(None, 1.0) == 4.0
