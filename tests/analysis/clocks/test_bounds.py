"""Test the bounds of the offset between two clocks, with readings that can be checked by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from analysis.clocks.bounds import (
    READING_NS,
    STEP_NS,
    Adjustment,
    Pings,
    by_pings_alone,
    by_steady_clocks,
    steady_points,
)
from analysis.clocks.envelope import FAR_NS, PART, ROUNDING_NS, SLEW, at_most

SECOND = 1_000_000_000
MS = 1_000_000
US = 1_000
Ints = npt.NDArray[np.int64]


def ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


def test_a_ping_is_on_its_way_without_the_masters_part() -> None:
    pings = Pings(ints(10, 20), ints(1000, 2000), ints(1005, 2001), ints(100, 50))
    assert len(pings) == 2
    assert pings.round_trip_ns.tolist() == [85, 29]
    assert pings.raw is None


@pytest.mark.parametrize("missing", ["sent_raw_ns", "received_raw_ns", "master_raw_ns"])
def test_steady_times_are_known_only_if_all_three_are(missing: str) -> None:
    all_three = {"sent_raw_ns": ints(1), "received_raw_ns": ints(2), "master_raw_ns": ints(3)}
    whole = Pings(ints(1), ints(1), ints(1), ints(1), **all_three)
    assert whole.raw == (ints(1), ints(2), ints(3))
    one_less = {name: times for name, times in all_three.items() if name != missing}
    assert Pings(ints(1), ints(1), ints(1), ints(1), **one_less).raw is None


#: Readings of two clocks one second apart, from steady time 5 s on. The wall clock is ahead by `wall_ns` (100
#: s), and moves by one of `moved_ns` in each interval.
def adjusted(*moved_ns: int, wall_ns: int = 100 * SECOND) -> Adjustment:
    raw = np.arange(len(moved_ns) + 1, dtype=np.int64) * SECOND + 5 * SECOND
    value = np.concatenate((ints(0), np.cumsum(ints(*moved_ns)))) if moved_ns else ints(0)
    return Adjustment.of(raw + wall_ns + value, raw)


def test_an_adjustment_counts_from_its_first_reading_in_order_of_steady_time() -> None:
    raw = ints(9, 5, 7, 7, 5) * SECOND
    wall = raw + ints(30, 10, 20, 99, 98)
    found = Adjustment.of(wall, raw)
    # There are two readings each at raw times 5 s and 7 s; the first of the two counts.
    assert (found.base_at_ns, found.base_ns) == (5 * SECOND, 10)
    assert found.at_ns.tolist() == [0, 2 * SECOND, 4 * SECOND]
    assert found.value_ns.tolist() == [0, 10, 20]
    assert [found.wall_ns(number) for number in range(3)] == [
        5 * SECOND + 10,
        7 * SECOND + 20,
        9 * SECOND + 30,
    ]


def test_a_reading_a_nanosecond_later_is_another() -> None:
    raw = ints(5, 6, 6)
    assert Adjustment.of(raw + 100, raw).at_ns.tolist() == [0, 1]


@pytest.mark.parametrize("offset_ns", [-7 * SECOND, 7 * SECOND])
def test_the_offset_counts_from_that_of_the_first_ping(offset_ns: int) -> None:
    """Floats keep small offsets exact to the nanosecond; the times need 61 bits, and a float has 53."""
    curve, _ = by_pings_alone(pinged(offset_ns, offset_ns, offset_ns))
    assert (curve.base_at_ns, curve.base_ns) == (1000 * SECOND, offset_ns + 100 * US)
    assert np.abs(curve.estimate_ns).max() < FAR_NS * PART


def test_a_clock_that_moves_by_more_than_slewing_explains_was_stepped() -> None:
    # The largest movement that does not count as a step: slewing by 500 ppm for one second, plus 5 µs for reading two
    # clocks.
    most = 500 * US + 5 * US
    assert adjusted(most, most + 1, -most, -most - 1).stepped.tolist() == [False, True, False, True]
    assert (READING_NS, STEP_NS) == (5 * US, 100 * US)


def test_a_step_worth_a_name_is_more_than_a_tenth_of_a_millisecond_beyond_slewing() -> None:
    most = 500 * US + STEP_NS
    assert adjusted(most).steps() == []
    assert adjusted(0, most + 1, 0).steps() == [(1, 2, most + 1)]
    # Steps in neighbouring intervals count as one step over all of them.
    two = adjusted(0, 2 * MS, 3 * MS, 0, -4 * MS)
    assert two.steps() == [(1, 3, 5 * MS), (4, 5, -4 * MS)]
    assert adjusted(2 * MS, -2 * MS).steps() == []
    assert adjusted(1_050 * US, 1_049 * US).steps() == [(0, 2, 2_099 * US)]


def test_the_rate_is_that_of_the_last_interval_without_a_step() -> None:
    assert adjusted(10 * US, 20 * US, 5 * MS).rate == pytest.approx(20e-6)
    assert adjusted(10 * US, 30 * US).rate == pytest.approx(30e-6)
    assert adjusted(5 * MS).rate == 0.0
    assert adjusted().rate == 0.0


def test_between_readings_a_clock_strays_by_what_its_neighbours_differ_but_no_less_than_slewing_does() -> (
    None
):
    def slewed(moved_ns: float) -> float:
        return SLEW / 2 * (1 - (moved_ns / SECOND / SLEW) ** 2) * SECOND

    # A single interval has no neighbour to compare with, so only slewing bounds it: half a second away and half a
    # second back at 500 ppm is up to 250 µs.
    assert adjusted(0).strays_ns.tolist() == [pytest.approx(250 * US)]
    assert adjusted(300 * US).strays_ns.tolist() == [pytest.approx(slewed(300 * US))]
    # If the neighbouring intervals have the same rate, the clock does not stray. The first and the last
    # interval have one neighbour each, which decides.
    assert adjusted(0, 0, 0).strays_ns.tolist() == pytest.approx([0, 0, 0])
    found = adjusted(0, 100 * US, 130 * US, 130 * US).strays_ns.tolist()
    assert found == pytest.approx([100 * US, 100 * US, 30 * US, 0])
    # The rate of the middle interval, which lasts 1 s, differs from those of its neighbours by 300 and 350 µs/s. The
    # greater difference counts, but only up to the most that slewing can cause, 240 µs here. The result is at least the
    # smaller difference.
    found = adjusted(-200 * US, 100 * US, 450 * US).strays_ns.tolist()
    assert found[1] == pytest.approx(max(300 * US, slewed(100 * US)))
    # The first interval has a step, and so no rate to compare with. The second interval is compared only with the
    # third; without a third interval, the bound of slewing counts.
    assert adjusted(5 * MS, 100 * US, 160 * US).strays_ns.tolist()[1:] == pytest.approx([60 * US, 60 * US])
    assert adjusted(5 * MS, 100 * US).strays_ns.tolist()[1] == pytest.approx(slewed(100 * US))


def test_a_curve_is_as_wide_as_reading_and_straying_at_each_reading() -> None:
    curve = adjusted(0, 0, 40 * US).curve()
    assert (curve.base_at_ns, curve.base_ns) == (5 * SECOND, 100 * SECOND)
    reading = READING_NS / 2 + ROUNDING_NS
    at = np.array([0, 1, 2, 3]) * SECOND + 5 * SECOND
    low, high = curve.interval(at)
    # At a reading between two intervals the greater doubt counts; the second and third interval differ by 40
    # µs.
    assert low.tolist() == pytest.approx([-reading, -reading - 40 * US, -reading - 40 * US, -reading])
    assert high.tolist() == pytest.approx([reading, reading + 40 * US, reading + 40 * US, 80 * US + reading])
    assert curve.estimate_ns.tolist() == pytest.approx(((curve.low_ns + curve.high_ns) / 2).tolist())
    # Before the first and after the last reading, the clock may be slewed at the full rate.
    assert (curve.at_ns[0], curve.at_ns[-1]) == (-FAR_NS, 3 * SECOND + FAR_NS)
    assert curve.high_ns[[0, -1]].tolist() == [SLEW * FAR_NS, 40 * US + SLEW * FAR_NS]
    assert curve.low_ns[[0, -1]].tolist() == [-SLEW * FAR_NS, 40 * US - SLEW * FAR_NS]


def test_while_a_step_may_have_been_before_and_after_are_both_possible() -> None:
    curve = adjusted(0, 5 * MS, 0).curve()
    reading = READING_NS / 2 + ROUNDING_NS
    slewed = SLEW * SECOND + reading
    for at_s in (1.000001, 1.5, 1.999999):
        low, high = curve.interval(ints(int((at_s + 5) * SECOND)))
        assert (low[0], high[0]) == (pytest.approx(-slewed), pytest.approx(5 * MS + slewed))
    low, high = curve.interval(ints(6 * SECOND, 7 * SECOND))
    # At each reading, the step has either not begun or is over. The intervals before and after the step have no other
    # neighbour, so slewing (250 µs) bounds them.
    doubt = reading + 250 * US
    assert (low.tolist(), high.tolist()) == ([-doubt, 5 * MS - doubt], [doubt, 5 * MS + doubt])


def pinged(*offsets_ns: int, way_ns: int = 100 * US, steady: bool = False, worker_ns: int = 0) -> Pings:
    """Return pings sent one second apart and answered at once; each takes ``way_ns`` in each direction.

    ``offsets_ns`` has the master's wall clock minus the worker's, for each ping.
    """
    sent = np.arange(len(offsets_ns), dtype=np.int64) * SECOND + 1000 * SECOND
    master = sent + way_ns + ints(*offsets_ns)
    pings = Pings(sent, master, master, sent + 2 * way_ns)
    if not steady:
        return pings
    raw = sent - 990 * SECOND
    return Pings(
        sent + worker_ns,
        master,
        master,
        sent + 2 * way_ns + worker_ns,
        raw,
        raw + 2 * way_ns,
        raw + way_ns + 70 * SECOND,
    )


def test_pings_alone_bound_the_offset_to_half_a_round_trip_at_each() -> None:
    curve, jumps = by_pings_alone(pinged(*[7 * SECOND] * 6))
    assert jumps == []
    assert curve.base_at_ns == 1000 * SECOND
    assert curve.base_ns == 7 * SECOND + 100 * US
    at = np.arange(1, 5, dtype=np.int64) * SECOND + 1000 * SECOND
    low, high = curve.interval(at)
    # The upper bound is that of the ping sent one second earlier, plus the most that the clocks can drift apart
    # in one second.
    assert high.tolist() == pytest.approx([PART * SECOND] * 4, abs=1)
    # All bounds are relative to the first upper bound. A ping's lower bound is its upper bound minus the round trip of
    # 200 µs. The upper bound holds when the ping is sent, the lower bound when it returns 200 µs later. So the lower
    # bound of the previous ping has widened for one second minus 200 µs.
    least = -200 * US - PART * (SECOND - 200 * US)
    assert low.tolist() == pytest.approx([least] * 4, abs=1)
    estimate = curve.estimate(np.arange(6, dtype=np.int64) * SECOND + 1000 * SECOND + 100 * US)
    assert np.abs(estimate - 7 * SECOND).max() <= 2


def test_a_jump_that_pings_show_is_by_the_workers_clock_and_in_doubt_twice_where_it_was_set_back() -> None:
    for moved in (40 * MS, -40 * MS):
        pings = pinged(*[0] * 5, *[moved] * 5)
        curve, (jump,) = by_pings_alone(pings)
        edges = (pings.sent_ns, pings.received_ns) if moved > 0 else (pings.received_ns, pings.sent_ns)
        assert (jump.from_ns, jump.to_ns) == (edges[0][4], edges[1][5])
        assert jump.moved_ns == pytest.approx(moved, abs=PART * SECOND)
        low, high = curve.interval(ints(1004 * SECOND + SECOND // 2))
        assert high[0] - low[0] > 40 * MS
        # If the offset grows, the worker's clock was set back, and its times before the jump occur a second
        # time.
        again = ints(jump.from_ns - int(at_most(40 * MS)) + 1, jump.to_ns + int(at_most(40 * MS)) - 1)
        low, high = curve.interval(again)
        assert ((high - low > 40 * MS).tolist()) == [moved > 0] * 2


def test_points_of_steady_times_are_in_their_order_and_wider_by_rounding() -> None:
    sent, received, master = ints(30, 10, 20), ints(31, 45, 24), ints(1033, 1012, 1022)
    points, base_at, base = steady_points(sent, received, master)
    assert (base_at, base) == (10, 1003)
    assert points.upper_at.tolist() == [0, 10, 20]
    assert points.upper.tolist() == [1002 - 1003 + 4, 1002 - 1003 + 4, 1003 - 1003 + 4]
    # The lower bounds are sorted by the times at which the pings came back: 24, 31 and 45, relative to 10.
    assert points.lower_at.tolist() == [14, 21, 35]
    assert points.lower.tolist() == [998 - 1003 - 4, 1002 - 1003 - 4, 967 - 1003 - 4]


def test_steady_clocks_bound_the_offset_by_the_best_of_all_pings() -> None:
    pings = pinged(*[3 * SECOND] * 30, steady=True)
    bounds = by_steady_clocks(pings)
    assert bounds.jumps == []
    # The true offset of the steady clocks is 70 s.
    steady = bounds.steady.estimate(pings.raw[0] if pings.raw else ints())
    assert np.abs(steady - 70 * SECOND).max() < 10 * US
    times = np.arange(1001, 1029, dtype=np.int64) * SECOND
    low, high = bounds.curve.interval(times)
    reading = READING_NS + 2 * ROUNDING_NS
    assert ((high - low) / 2).max() < 100 * US + reading + 15 * US
    assert ((high - low) / 2).min() > 100 * US + reading - 1
    assert np.abs(bounds.curve.estimate(times) - 3 * SECOND).max() < 10 * US
    assert ((low < 3 * SECOND - bounds.curve.base_ns) & (high > 3 * SECOND - bounds.curve.base_ns)).all()
    # At the worker's fourth reading, 200 µs after 1003 s, the master's clock is 3 s ahead.
    assert abs(bounds.master_wall_ns(3) - (1006 * SECOND + 200 * US)) < 10 * US


def test_where_the_workers_clock_was_set_back_its_times_may_be_of_before_or_after() -> None:
    pings = pinged(*[0] * 20, steady=True)
    back = np.where(np.arange(20) >= 10, -3 * SECOND, 0)
    moved = Pings(
        pings.sent_ns + back,
        pings.master_received_ns,
        pings.master_sent_ns,
        pings.received_ns + back,
        pings.sent_raw_ns,
        pings.received_raw_ns,
        pings.master_raw_ns,
    )
    bounds = by_steady_clocks(moved)
    assert bounds.worker.steps() == [(9, 10, -3 * SECOND)]
    # The worker's clock shows 1008 s twice: before the step, with an offset of 0, and after it, with one of 3
    # s.
    low, high = bounds.curve.interval(ints(1004 * SECOND, 1008 * SECOND, 1013 * SECOND))
    low, high = low + bounds.curve.base_ns, high + bounds.curve.base_ns
    assert np.abs(low[[0, 2]] - [0, 3 * SECOND]).max() < MS
    assert np.abs(high[[0, 2]] - [0, 3 * SECOND]).max() < MS
    assert low[1] <= 0
    assert high[1] >= 3 * SECOND


def test_while_it_is_not_known_when_the_masters_clock_was_read_it_may_have_been_slewed() -> None:
    way_ns = 50 * MS
    bounds = by_steady_clocks(pinged(*[0] * 30, steady=True, way_ns=way_ns))
    low, high = bounds.curve.interval(np.arange(1005, 1025, dtype=np.int64) * SECOND)
    # A ping bounds the offset from above at the time when it was sent, and from below at the time when its answer
    # arrived, one round trip later. Between the two times the clocks may drift apart (PART). The master read its
    # clock at most half a round trip from the middle, and the clock may have been slewed in that time (SLEW).
    widths = (high - low) / 2 - (way_ns + READING_NS + 2 * ROUNDING_NS)
    assert widths.min() == pytest.approx((PART + SLEW) * way_ns, abs=US)


def test_a_suspension_lies_between_two_pings_by_the_workers_clock() -> None:
    pings = pinged(*[0] * 20, steady=True)
    assert pings.master_raw_ns is not None
    slept = np.where(np.arange(20) >= 10, 5 * SECOND, 0)
    (jump,) = by_steady_clocks(
        Pings(
            pings.sent_ns,
            pings.master_received_ns + slept,
            pings.master_sent_ns + slept,
            pings.received_ns,
            pings.sent_raw_ns,
            pings.received_raw_ns,
            pings.master_raw_ns + slept,
        )
    ).jumps
    assert jump.moved_ns == pytest.approx(5 * SECOND, abs=MS)
    assert (jump.from_ns, jump.to_ns) == pytest.approx((1009 * SECOND, 1010 * SECOND), abs=MS)


def test_the_masters_clock_is_told_soon_after_a_machine_was_started_too() -> None:
    pings = pinged(*[3 * SECOND] * 10, steady=True)
    assert pings.raw is not None
    # The steady clocks of both machines started 1 ms before the first ping.
    started = [times - int(pings.raw[number][0]) + MS for number, times in enumerate(pings.raw)]
    bounds = by_steady_clocks(
        Pings(
            pings.sent_ns, pings.master_received_ns, pings.master_sent_ns, pings.received_ns,
            started[0], started[1] + 200 * US, started[2] + 100 * US,
        )
    )  # fmt: skip
    for number in (0, 5, 9):
        shown = 1003 * SECOND + number * SECOND + 200 * US
        assert abs(bounds.master_wall_ns(number) - shown) < 20 * US
