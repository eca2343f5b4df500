"""The bounds of a clock from pings, against clocks that are known."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import clocks
from analysis.clock_bounds import Pings
from analysis.clocks import ClockFit
from analysis.envelope import SLEW
from tests.analysis import clock_coverage

SECOND = 1_000_000_000
MS = 1_000_000
BOOT = 1_795_490_000 * SECOND


@dataclass(frozen=True)
class Made:
    """Simulated pings, their fit, and the true (worker's time, master's time) all through the run."""

    pings: Pings
    fit: ClockFit
    truth: list[tuple[int, int]]

    @property
    def beyond_ns(self) -> int:
        """By how much the worst corrected time is further off than its own error."""
        worker, master = np.array(self.truth, dtype=np.int64).T
        corrected = worker + self.fit.correction_ns(worker)
        return int((np.abs(corrected - master) - self.fit.error_ns_at(corrected)).max())


def made(
    offset_ns: int,
    drift_ppm: float,
    *,
    seed: int = 1,
    count: int = 120,
    every_ns: int = SECOND // 4,
    least_ns: int = 100_000,
    spread_ns: int = 300_000,
    worker_step_ns: int = 0,
    master_step_ns: int = 0,
    frozen_ns: int = 0,
    steady: bool = True,
    same_kernel: bool = False,
) -> Made:
    """Fit simulated pings. The two ways of a ping take different random times.

    Half way, a clock steps by so much, or the worker's machine stands still, clocks and all.
    """
    draw = random.Random(seed)
    half = count * every_ns / 2

    def worker_at(true_ns: int) -> tuple[int, int]:
        since = true_ns - BOOT
        wall = true_ns - offset_ns + (worker_step_ns if since > half else 0)
        return wall - round(since * drift_ppm * 1e-6), since + 40 * SECOND

    def master_at(true_ns: int) -> tuple[int, int]:
        # While the worker stands still, nothing happens there, and the master's clocks go on.
        since = true_ns - BOOT
        gone_ns = frozen_ns if since > half else 0
        wall = true_ns + gone_ns + (master_step_ns if since > half else 0)
        return wall, since + gone_ns + round(since * 30e-6) + SECOND

    rows, truth = [], []
    for number in range(count):
        left = BOOT + number * every_ns
        there = left + least_ns + round(draw.expovariate(1 / spread_ns))
        answered = there + 20_000
        back = answered + least_ns + round(draw.expovariate(1 / spread_ns))
        (sent, sent_raw), (received, received_raw) = worker_at(left), worker_at(back)
        answer, master_raw = master_at(answered)
        rows.append((sent, master_at(there)[0], answer, received, sent_raw, received_raw, master_raw))
        moment = left + draw.randrange(every_ns)
        truth.append((worker_at(moment)[0], master_at(moment)[0]))
    columns = list(np.array(rows, dtype=np.int64).T)
    pings = Pings(*columns) if steady else Pings(*columns[:4])
    return Made(pings, clocks.fit(1, same_kernel, pings), truth[:-1])


@settings(max_examples=80, deadline=None)
@given(
    st.integers(-10 * SECOND, 10 * SECOND),
    st.floats(-200, 200),
    st.integers(0, 10_000),
    st.integers(3, 200),
    st.integers(1_000, 20 * MS),
    st.booleans(),
)
def test_the_truth_always_lies_within_the_error(
    offset_ns: int, drift_ppm: float, seed: int, count: int, spread_ns: int, steady: bool
) -> None:
    found = made(offset_ns, drift_ppm, seed=seed, count=count, spread_ns=spread_ns, steady=steady)
    assert found.fit.error_ns is not None
    assert found.fit.steady == steady
    assert found.beyond_ns <= 0


@settings(max_examples=60, deadline=None)
@given(
    st.integers(-3 * SECOND, 3 * SECOND),
    st.sampled_from(["worker_step_ns", "master_step_ns"]),
    st.integers(0, 10_000),
    st.booleans(),
)
def test_the_truth_lies_within_the_error_when_a_clock_steps_by_any_amount(
    step_ns: int, whose: str, seed: int, steady: bool
) -> None:
    stepped = {whose: step_ns}
    assert made(0, 20, seed=seed, count=60, steady=steady, **stepped).beyond_ns <= 0  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(3, 120),
    st.integers(1_000, 20 * MS),
    st.floats(-200, 200),
    st.booleans(),
    st.integers(1, 50 * MS),
)
def test_what_one_clock_has_measured_stays_as_long_as_it_was(
    seed: int, count: int, spread_ns: int, drift_ppm: float, steady: bool, length_ns: int
) -> None:
    """A time between two readings of one clock has no error, and correcting both must not give it one.

    It is only told in the master's seconds: the steady clocks part by 1,000 ppm at most, the slewed ones by as much.
    """
    found = made(0, drift_ppm, seed=seed, count=count, spread_ns=spread_ns, steady=steady)
    begin_ns = np.linspace(BOOT, BOOT + count * SECOND // 4, 500).astype(np.int64)
    end_ns = begin_ns + length_ns
    changed = np.abs(found.fit.correction_ns(end_ns) - found.fit.correction_ns(begin_ns))
    assert (changed <= 2_000e-6 * length_ns + 2).all()


def test_the_error_is_smaller_than_the_quickest_round_trip_and_grows_with_it() -> None:
    near = made(500 * MS, 50).fit
    far = made(500 * MS, 50, least_ns=20 * MS, spread_ns=5 * MS).fit
    assert near.error_ns is not None
    assert far.error_ns is not None
    assert near.best_round_trip_ns is not None
    assert near.error_ns < near.best_round_trip_ns
    assert far.error_ns > 10 * near.error_ns
    assert near.drift_ppm == pytest.approx(50, abs=15)
    assert near.offset_ns == pytest.approx(500 * MS, abs=near.error_ns)


@pytest.mark.parametrize("step_ns", [-900_000, 900_000, -40 * MS, 3 * SECOND])
def test_a_step_of_either_clock_is_named_with_its_owner_its_time_and_its_size(step_ns: int) -> None:
    for whose, worker in (("worker_step_ns", 1), ("master_step_ns", None)):
        stepped = {whose: step_ns}
        found = made(0, 0, **stepped)  # type: ignore[arg-type]
        (step,) = found.fit.steps
        assert step.worker == worker
        assert abs(step.moved_ns - step_ns) < 10_000
        at_ns = BOOT + 15 * SECOND + (step_ns if worker is None else 0)
        assert 0 <= step.time_ns - at_ns <= step.within_ns + SECOND // 4
        assert step.within_ns < SECOND // 3
        assert found.fit.jumps == ()


def test_a_step_that_only_pings_show_is_a_jump_of_unknown_cause() -> None:
    found = made(0, 0, worker_step_ns=-40 * MS, steady=False)
    assert found.fit.steps == ()
    (jump,) = found.fit.jumps
    assert not jump.steady
    assert abs(jump.moved_ns - 40 * MS) < 2 * MS
    assert found.beyond_ns <= 0


def test_a_machine_that_stood_still_clock_and_all_is_a_jump_of_the_steady_clocks() -> None:
    found = made(0, 0, frozen_ns=230 * MS)
    assert found.fit.steps == ()
    (jump,) = found.fit.jumps
    assert jump.steady
    assert abs(jump.moved_ns - 230 * MS) < MS
    assert abs(jump.from_ns - (BOOT + 15 * SECOND)) < SECOND
    # A hundredth of the run away from it, the clock is known as well as ever.
    at_ns = np.array([BOOT + 5 * SECOND, BOOT + 25 * SECOND])
    assert (found.fit.error_ns_at(at_ns) < MS).all()


def test_a_slew_of_one_clock_there_and_back_is_followed() -> None:
    row = clock_coverage.cover("triangle", 50, alone=False, seed=3)
    assert row.outside == 0
    # Off by up to 4 ms from a straight line, and known to what a round trip leaves open.
    assert row.ratio(90) < 1.0


def test_processes_of_one_kernel_share_a_clock_unless_a_ping_speaks_against_it() -> None:
    found = made(0, 0, same_kernel=True).fit
    assert (found.shared, found.error_ns) == (True, 0)
    assert found.error_ns_at(np.array([BOOT, BOOT + SECOND])).tolist() == [0, 0]
    assert not made(500 * MS, 0, same_kernel=True).fit.shared


def test_of_too_few_pings_nothing_is_claimed() -> None:
    found = made(500 * MS, 0, count=2).fit
    assert (found.shared, found.error_ns, found.offset_ns) == (False, None, None)
    with pytest.raises(ValueError, match="nothing is known of worker 1"):
        found.error_ns_at(np.array([BOOT]))


def test_beyond_the_last_ping_the_error_grows_by_what_two_kernels_may_slew() -> None:
    found = made(0, 0).fit
    last_ns = BOOT + 30 * SECOND
    errors = found.error_ns_at(np.array([last_ns, last_ns + 10 * SECOND]))
    assert 10 * SECOND * SLEW < errors[1] - errors[0] < 3 * 10 * SECOND * SLEW


def test_health_rows_show_steps_down_to_a_tenth_of_a_millisecond() -> None:
    second = np.full(3, SECOND, dtype=np.int64)
    moved = np.array([20_000, -200 * MS, 900_000], dtype=np.int64)
    steps = clocks.steps_of_health(np.array([0, 1, 2]), second, second, moved)
    assert [(step.worker, step.moved_ns) for step in steps] == [(1, -200 * MS), (2, 900_000)]


def test_the_truth_is_within_the_error_and_the_error_as_narrow_as_pings_allow() -> None:
    """A sample; `benchmarks/statistics_known.py` does it with ten thousand clocks."""
    rows = clock_coverage.table(420)
    assert sum(row.clocks for row in rows.values()) == 420
    assert clock_coverage.missed(rows, chance=0.001) == []


def test_an_error_that_is_too_small_or_too_wide_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = ClockFit.error_ns_at
    for factor, said in ((0.5, "outside the error at"), (3.0, "times what pings allow")):
        monkeypatch.setattr(
            ClockFit,
            "error_ns_at",
            lambda self, at, factor=factor: (right(self, at) * factor).astype(np.int64),
        )
        assert any(said in line for line in clock_coverage.missed(clock_coverage.table(140), chance=0.001))
