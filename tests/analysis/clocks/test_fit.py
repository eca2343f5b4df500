"""Test how well the relation of two clocks is fitted from pings: the clocks are simulated, so the truth is known."""

import random
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.clocks import fit as clocks
from analysis.clocks.bounds import Pings
from analysis.clocks.envelope import SLEW, Curve
from analysis.clocks.fit import ClockFit
from tests.analysis import clock_coverage

SECOND = 1_000_000_000
MS = 1_000_000
BOOT = 1_795_490_000 * SECOND


@dataclass(frozen=True)
class Made:
    """Simulated pings, their fit, and true pairs of (worker's time, master's time) during the run."""

    pings: Pings
    fit: ClockFit
    truth: list[tuple[int, int]]

    @property
    def beyond_ns(self) -> int:
        """The largest excess of a corrected time's true error over its stated error; negative if none exceeds it."""
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
    """Fit simulated pings, whose way to the master and way back take different random times.

    Half way through the run, a clock steps by ``worker_step_ns`` or ``master_step_ns``, or the worker's
    machine freezes for ``frozen_ns``.
    """
    draw = random.Random(seed)
    half = count * every_ns / 2

    def worker_at(true_ns: int) -> tuple[int, int]:
        since = true_ns - BOOT
        wall = true_ns - offset_ns + (worker_step_ns if since > half else 0)
        return wall - round(since * drift_ppm * 1e-6), since + 40 * SECOND

    def master_at(true_ns: int) -> tuple[int, int]:
        # While the worker's machine is frozen, nothing happens on it, and the master's clocks go on.
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
    """Correcting two readings of one clock changes the time between them by at most 2,000 ppm.

    The uncorrected difference is exact in the clock's own seconds, so the correction may only convert it to the
    master's. Steady clocks drift apart by 1,000 ppm at most, and slewing adds as much again.
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
    # Ten seconds before and after the freeze, the error is as small as without a freeze.
    at_ns = np.array([BOOT + 5 * SECOND, BOOT + 25 * SECOND])
    assert (found.fit.error_ns_at(at_ns) < MS).all()


def test_a_slew_of_one_clock_there_and_back_is_followed() -> None:
    row = clock_coverage.cover("triangle", 50, alone=False, seed=3)
    assert row.outside == 0
    # The offset departs from a straight line by up to 4 ms, yet the fit's error is as small as the round trips allow.
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
    """A sample of 420 clocks; `benchmarks/statistics_known.py` simulates ten thousand."""
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


def test_exactly_a_tenth_of_a_millisecond_is_no_step_and_a_step_says_all_there_is() -> None:
    moved = np.array([100_000, 100_001, -100_001, -100_000], dtype=np.int64)
    worker, time_ns, interval_ns = (np.array([n, n + 1, n + 2, n + 3], dtype=np.int64) for n in (0, 10, 20))
    steps = clocks.steps_of_health(worker, time_ns, interval_ns, moved)
    assert [step.to_dict() for step in steps] == [
        {"worker": 1, "time_ns": 11, "moved_ns": 100_001, "within_ns": 21},
        {"worker": 2, "time_ns": 12, "moved_ns": -100_001, "within_ns": 22},
    ]


def test_a_clock_that_is_the_masters_needs_no_correction() -> None:
    assert clocks.shared_clock(4).pings == 0
    fit = clocks.shared_clock(4, 7)
    assert fit.to_dict() == {
        "worker": 4,
        "shared": True,
        "pings": 7,
        "offset_ns": 0,
        "drift_ppm": 0.0,
        "error_ns": 0,
        "best_round_trip_ns": None,
        "steady": False,
    }
    times = np.array([BOOT, BOOT + 1])
    assert fit.correction_ns(times).tolist() == fit.error_ns_at(times).tolist() == [0, 0]


@pytest.mark.parametrize("count", [2, 3])
def test_three_pings_are_enough(count: int) -> None:
    assert (made(0, 0, count=count).fit.error_ns is None) == (count == 2)


def test_a_ping_that_a_shared_clock_cannot_have_speaks_against_it() -> None:
    sent = np.arange(5, dtype=np.int64) * SECOND
    for early, late in ((-1, 0), (0, 1)):
        off = np.array([0, 0, 1, 0, 0])
        # In the first case the master receives a ping before the worker sends it. In the second case the master answers
        # after the worker has the answer. Equal times do not contradict a shared clock.
        pings = Pings(sent, sent + early * off, sent + 10 + late * off, sent + 10)
        assert not clocks.fit(1, True, pings).shared
        assert clocks.fit(1, True, Pings(sent, sent, sent + 10, sent + 10)).shared
        assert not clocks.fit(1, False, Pings(sent, sent, sent + 10, sent + 10)).shared


def known(*nodes: tuple[float, float, float, float]) -> ClockFit:
    """Return a clock from nodes of (time, low, high, estimate).

    Times count from 1000 ns. At a node the clock is 50 ns plus the node's estimate behind the master's clock.
    """
    at, low, high, estimate = np.array(nodes, dtype=np.float64).T
    return ClockFit(1, False, 9, 50, 0.0, 99, curve=Curve(at, low, high, estimate, 1000, 50))


def test_the_error_at_a_corrected_time_is_interpolated_and_rounded_up() -> None:
    fit = known((0, -10, 10, 0), (1000, -20, 30, 0), (2000, -10, 10, 0))
    assert fit.correction_ns(np.array([1000, 2000])).tolist() == [50, 50]
    # The errors are 10 and 30 ns at the nodes, interpolated in between, and 1 ns more everywhere for rounding.
    found = fit.error_ns_at(np.array([1050, 1550, 2050, 2550, 3050])).tolist()
    assert found == [11, 21, 31, 21, 11]
    beyond = fit.error_ns_at(np.array([0, 9_000])).tolist()
    assert beyond == [11, 11]


def test_where_a_corrected_time_has_several_origins_the_error_is_the_greatest_of_them() -> None:
    # From 1000 to 2000 ns the correction drops by 1000 ns, so all worker times in between have one corrected time.
    fit = known(
        (0, -10, 10, 0),
        (1000, -10, 10, 0),
        (1500, -700, 90, 0),
        (2000, -1010, -990, -1000),
        (3000, -1010, -990, -1000),
    )
    shown = fit.error_ns_at(np.array([1050 + 200, 1050 + 1000, 1050 + 1500, 1050 + 1900])).tolist()
    # Several of the worker's times map to one corrected time: towards it the error grows from 10 to 700 ns, and after
    # it the error shrinks again.
    assert shown == [pytest.approx(149, abs=2), 701, 701, pytest.approx(149, abs=2)]


def test_the_error_of_a_window_is_the_greatest_within_it_and_the_offset_its_first() -> None:
    """The pings stop at 30 s, so the error grows after that."""
    pings = made(500 * MS, 0).pings
    whole = clocks.fit(1, False, pings)
    inside = clocks.fit(1, False, pings, (BOOT + 10 * SECOND, BOOT + 20 * SECOND))
    beyond = clocks.fit(1, False, pings, (BOOT + 10 * SECOND, BOOT + 60 * SECOND))
    assert inside.error_ns is not None
    assert beyond.error_ns is not None
    assert whole.error_ns is not None
    times = np.arange(BOOT + 10 * SECOND, BOOT + 20 * SECOND, 10 * MS)
    assert abs(inside.error_ns - int(inside.error_ns_at(times).max())) <= 2
    assert abs(beyond.error_ns - int(beyond.error_ns_at(np.array([BOOT + 60 * SECOND]))[0])) <= 2
    assert inside.error_ns < whole.error_ns < beyond.error_ns
    offset = inside.correction_ns(np.array([BOOT + 10 * SECOND - 500 * MS]))[0]
    assert inside.offset_ns == pytest.approx(offset, abs=2)
    assert (inside.pings, inside.shared, inside.worker) == (120, False, 1)
    assert inside.best_round_trip_ns == int(pings.round_trip_ns.min())


def test_the_drift_is_the_median_rate() -> None:
    # The worker's clock is slower than true time by 80 ppm; the master's clock is exact.
    assert made(0, 80).fit.drift_ppm == pytest.approx(80, abs=5)
    assert made(0, -80, steady=False).fit.drift_ppm == pytest.approx(-80, abs=15)
