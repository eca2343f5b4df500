"""Test when workers report their counts, and how long in advance they are told that a phase begins."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.run.periodic import STATUS_INTERVAL_S, lead_ns, wait_for_status


def waited_s(counts: Sequence[int], starting: Callable[[], bool] = lambda: True) -> float:
    """Return how long `wait_for_status` waits if it reads ``counts`` one after another, and then the last one again."""
    slept: list[float] = []
    looks = iter([*counts])
    last = [0]

    def now() -> int:
        last[0] = next(looks, last[0])
        return last[0]

    wait_for_status(now, starting, slept.append)
    return sum(slept)


def test_counts_that_do_not_change_are_reported_at_the_interval() -> None:
    assert waited_s([7]) == pytest.approx(STATUS_INTERVAL_S, abs=0.03)


def test_counts_that_change_all_the_time_are_reported_at_the_interval() -> None:
    assert waited_s(range(100)) == pytest.approx(STATUS_INTERVAL_S, abs=0.03)


def test_counts_that_have_come_to_rest_are_reported_at_once() -> None:
    # In the first case, the count is at first as last reported (0), then changes twice and stays the same.
    assert waited_s([0, 3, 5, 5, 5]) == pytest.approx(0.06)
    assert waited_s([0, 5, 5]) == pytest.approx(0.04)


def test_what_rises_and_falls_back_to_what_was_reported_is_no_news() -> None:
    assert waited_s([0, 1, 0, 0, 0]) == pytest.approx(STATUS_INTERVAL_S, abs=0.03)


def test_a_run_that_has_started_reports_at_the_interval() -> None:
    assert waited_s([0, 5, 5, 5], lambda: False) == STATUS_INTERVAL_S


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(0, 20))
def test_a_report_is_never_later_than_two_intervals(counts: list[int], started_after: int) -> None:
    looks = iter(range(10**6))
    assert 0 < waited_s(counts, lambda: next(looks) < started_after) <= 2 * STATUS_INTERVAL_S


def test_workers_elsewhere_are_told_half_a_second_before_and_many_clients_here_too() -> None:
    assert lead_ns(1, elsewhere=True) == lead_ns(100_000, elsewhere=True) == 500_000_000
    assert lead_ns(3, elsewhere=False) < 60_000_000
    assert lead_ns(1_000, elsewhere=False) == 150_000_000
    assert lead_ns(100_000, elsewhere=False) == 500_000_000
