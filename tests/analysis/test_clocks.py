"""The fit of a clock to pings, against clocks that are known."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import clocks
from analysis.clocks import ClockFit

SECOND = 1_000_000_000
MS = 1_000_000
BOOT = 1_795_490_000 * SECOND


def pinged(
    offset_ns: int,
    drift_ppm: float,
    *,
    seed: int = 1,
    count: int = 120,
    every_ns: int = SECOND // 4,
    least_ns: int = 100_000,
    spread_ns: int = 300_000,
    bend_ns: int = 0,
    same_kernel: bool = False,
) -> tuple[ClockFit, list[tuple[int, int]]]:
    """Fit simulated pings; return the fit and the true (worker's time, master's time) all through the run.

    The two ways of a ping take different random times; with a bend the clock steps by that much half way.
    """
    draw = random.Random(seed)

    def worker_at(master_ns: int) -> int:
        since = master_ns - BOOT
        bent = bend_ns if since > count * every_ns / 2 else 0
        return master_ns - offset_ns - bent - round(since * drift_ppm * 1e-6)

    rows, truth = [], []
    for number in range(count):
        left = BOOT + number * every_ns
        there = left + least_ns + round(draw.expovariate(1 / spread_ns))
        answered = there + 20_000
        back = answered + least_ns + round(draw.expovariate(1 / spread_ns))
        rows.append((worker_at(left), there, answered, worker_at(back)))
        truth.append((worker_at(left), left))
    fit = clocks.fit(1, same_kernel, *np.array(rows, dtype=np.int64).T)
    return fit, truth


def worst_error_ns(fit: ClockFit, truth: list[tuple[int, int]]) -> int:
    worker, master = np.array(truth, dtype=np.int64).T
    return int(np.abs(worker + fit.correction_ns(worker) - master).max())


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-10 * SECOND, 10 * SECOND),
    st.floats(-200, 200),
    st.integers(0, 10_000),
    st.integers(3, 200),
    st.integers(1_000, 20 * MS),
)
def test_the_truth_always_lies_within_the_error(
    offset_ns: int, drift_ppm: float, seed: int, count: int, spread_ns: int
) -> None:
    fit, truth = pinged(offset_ns, drift_ppm, seed=seed, count=count, spread_ns=spread_ns)
    assert fit.error_ns is not None
    # Up to what rounding to whole nanoseconds does to a stamp.
    assert worst_error_ns(fit, truth) <= fit.error_ns + 5
    assert fit.wander_ns is not None
    assert fit.wander_ns <= 2


def test_the_error_is_smaller_than_the_quickest_round_trip_and_grows_with_it() -> None:
    near, _ = pinged(500 * MS, 50)
    far, _ = pinged(500 * MS, 50, least_ns=20 * MS, spread_ns=5 * MS)
    assert near.error_ns is not None
    assert far.error_ns is not None
    assert near.best_round_trip_ns is not None
    assert near.error_ns < near.best_round_trip_ns
    assert far.error_ns > 10 * near.error_ns
    assert near.drift_ppm == pytest.approx(50, abs=15)
    assert near.offset_ns == pytest.approx(500 * MS, abs=near.error_ns)


def test_a_clock_that_bends_is_given_an_error_that_covers_it() -> None:
    fit, truth = pinged(0, 0, bend_ns=40 * MS)
    assert fit.wander_ns is not None
    assert fit.error_ns is not None
    assert fit.wander_ns > 5 * MS
    assert worst_error_ns(fit, truth) <= fit.error_ns


def test_processes_of_one_kernel_share_a_clock_unless_a_ping_speaks_against_it() -> None:
    fit, _ = pinged(0, 0, same_kernel=True)
    assert (fit.shared, fit.error_ns) == (True, 0)
    apart, _ = pinged(500 * MS, 0, same_kernel=True)
    assert not apart.shared


def test_of_too_few_pings_nothing_is_claimed() -> None:
    fit, _ = pinged(500 * MS, 0, count=2)
    assert (fit.shared, fit.error_ns, fit.offset_ns) == (False, None, None)


def test_a_step_is_told_from_a_slew() -> None:
    second = np.full(3, SECOND, dtype=np.int64)
    moved = np.array([400_000, -200 * MS, 1_600_000], dtype=np.int64)
    steps = clocks.find_steps(np.array([0, 1, 2]), second, second, moved)
    assert [(step.worker, step.moved_ns) for step in steps] == [(1, -200 * MS), (2, 1_600_000)]
