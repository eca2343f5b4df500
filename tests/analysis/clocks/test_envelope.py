"""Test the bounds on the offset between two clocks against a direct implementation of their definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.clocks import envelope
from analysis.clocks.envelope import (
    FAR_NS,
    PART,
    ROUNDING_NS,
    SLEW,
    WANDER,
    Curve,
    Floats,
    Jump,
    Points,
    at_most,
    find_jumps,
    neighbours,
    rates,
    steady_offset,
)

SECOND = 1e9
MS = 1e6


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


def pings(
    offsets: list[float], *, width: float = 1000.0, long: float = 100.0, every: float = SECOND
) -> Points:
    """Return bounds on a clock's offset from one ping for each of ``offsets``.

    The upper bound, `offset + width`, holds when the ping leaves; the lower bound, `offset - width`, when it returns.
    """
    left = np.arange(len(offsets), dtype=np.float64) * every
    middle = array(*offsets)
    return Points(left, middle + width, left + long, middle - width)


def test_the_stated_rates() -> None:
    # A clock is slewed by at most 500 ppm (NTP_MAXFREQ), so two clocks drift apart by up to twice that.
    # Bounds extend one day beyond the last point.
    assert (SLEW, PART, WANDER) == (5e-4, 1e-3, 1e-5)
    assert (FAR_NS, ROUNDING_NS) == (86_400 * SECOND, 4.0)


POINTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(-1000, 1000)), max_size=6).map(sorted)
RATES = st.tuples(st.integers(-8, 8), st.integers(-8, 8)).map(sorted)


@given(POINTS, POINTS, RATES, st.lists(st.integers(-50, 1050), min_size=1, max_size=5))
def test_each_point_grows_by_the_rate_since_its_moment(
    upper: list[tuple[int, int]], lower: list[tuple[int, int]], both: list[int], times: list[int]
) -> None:
    least, most = (rate / 4 for rate in both)
    points = Points(
        array(*(at for at, _ in upper)),
        array(*(value for _, value in upper)),
        array(*(at for at, _ in lower)),
        array(*(value for _, value in lower)),
    )
    at = array(*times)
    forward, backward, joined = (
        points.forward(at, least, most),
        points.backward(at, least, most),
        points.both(at, least, most),
    )
    for place, time in enumerate(times):
        high = min((value + most * (time - its) for its, value in upper if its <= time), default=math.inf)
        low = max((value + least * (time - its) for its, value in lower if its <= time), default=-math.inf)
        assert (forward[0][place], forward[1][place]) == (low, high)
        later_high = min(
            (value - least * (its - time) for its, value in upper if its >= time), default=math.inf
        )
        later_low = max(
            (value - most * (its - time) for its, value in lower if its >= time), default=-math.inf
        )
        assert (backward[0][place], backward[1][place]) == (later_low, later_high)
        assert (joined[0][place], joined[1][place]) == (max(low, later_low), min(high, later_high))


def test_between_has_both_ends() -> None:
    points = Points(array(1, 2, 3), array(10, 20, 30), array(1, 2, 3), array(-10, -20, -30))
    found = points.between(1, 2)
    assert (found.upper_at.tolist(), found.upper.tolist()) == ([1, 2], [10, 20])
    assert (found.lower_at.tolist(), found.lower.tolist()) == ([1, 2], [-10, -20])
    assert points.between(1.5, 1.9).upper.tolist() == []
    assert points.between(-np.inf, np.inf).lower.tolist() == [-10, -20, -30]


def test_a_curve_is_linear_between_its_nodes_and_counts_from_its_bases() -> None:
    curve = Curve(array(0, 10), array(-4, -8), array(4, 12), array(1, 3), base_at_ns=1000, base_ns=50)
    low, high = curve.interval(np.array([1000, 1005, 1010]))
    assert (low.tolist(), high.tolist()) == ([-4, -6, -8], [4, 8, 12])
    assert curve.estimate(np.array([1000, 1005, 1010, 2000])).tolist() == [51, 52, 53, 53]
    # The estimate is not in the middle of the bounds; the error is its distance from the farther bound.
    assert curve.error_ns.tolist() == [5, 11]
    # Without base_at_ns and base_ns, times and offsets count from zero.
    assert Curve(array(0, 10), array(0, 0), array(8, 8), array(1, 3)).estimate(np.array([5])).tolist() == [2]


@pytest.mark.parametrize("moved", [10 * MS, -10 * MS])
def test_a_jump_lies_between_the_last_point_before_it_and_the_first_after_it(moved: float) -> None:
    points = pings([0.0] * 6 + [moved] * 6)
    (jump,) = find_jumps(points)
    # After a jump upwards, lower bounds contradict the upper bounds before the jump. After a jump downwards,
    # upper bounds contradict the lower bounds before it.
    up = moved > 0
    before, after = (points.upper_at, points.lower_at) if up else (points.lower_at, points.upper_at)
    assert (jump.from_ns, jump.to_ns) == (before[5], after[6])
    edge = array(jump.from_ns), array(jump.to_ns)
    earlier = points.between(0, jump.from_ns).forward(edge[0], -PART, PART)
    later = points.between(jump.to_ns, 99 * SECOND).backward(edge[1], -PART, PART)
    known = [float(end[0]) for end in (*earlier, *later) if np.isfinite(end[0])]
    assert len(known) == 4
    assert jump.moved_ns == (known[2] + known[3]) / 2 - (known[0] + known[1]) / 2
    # On each side of the jump, the offset is known to ± half of what clocks drift apart in a second.
    assert jump.moved_ns == pytest.approx(moved, abs=PART * SECOND + 1001)


@pytest.mark.parametrize(
    ("moved", "found"),
    [
        # To be found, a jump must exceed three amounts together: the drift between two clocks (1 ms in a second, give
        # or take the 100 ns of a round trip), the width of the pings' bounds (2 µs), and rounding (4 ns).
        (PART * (SECOND + 100) + 2000 + 4.5, 1),
        (PART * (SECOND + 100) + 2000 + 3.5, 0),
        (-(PART * (SECOND - 100) + 2000 + 4.5), 1),
        (-(PART * (SECOND - 100) + 2000 + 3.5), 0),
    ],
)
def test_what_the_fastest_rate_explains_is_no_jump(moved: float, found: int) -> None:
    assert len(find_jumps(pings([0.0] * 4 + [moved] * 4))) == found


def test_each_of_several_jumps_is_found_and_their_number_is_bounded() -> None:
    points = pings([0.0] * 4 + [9 * MS] * 4 + [-9 * MS] * 4 + [0.0] * 4)
    assert [jump.moved_ns / MS for jump in find_jumps(points)] == pytest.approx([9, -18, 9], abs=1.1)
    often = pings([100 * MS * (number // 2 % 2) for number in range(1000)])
    jumps = find_jumps(often)
    assert 100 < len(jumps) <= envelope._MOST_JUMPS
    assert all(a.to_ns < b.from_ns for a, b in pairwise(jumps))


def test_jumps_without_a_bound_of_either_kind_between_them_are_one() -> None:
    points = pings([0.0] * 6)
    apart = [Jump(0.5 * SECOND, 0.9 * SECOND, 5.0), Jump(1.5 * SECOND, 1.9 * SECOND, 7.0)]
    assert envelope._merged(points, apart) == apart
    none = [Jump(0.5 * SECOND, 1.2 * SECOND, 5.0), Jump(1.5 * SECOND, 1.9 * SECOND, 7.0)]
    assert envelope._merged(points, none) == [Jump(0.5 * SECOND, 1.9 * SECOND, 12.0)]
    # Only an upper bound, at 1 s, lies between these jumps, because the lower bound comes 100 ns later. So they are
    # merged.
    half = [Jump(0.5 * SECOND, SECOND, 5.0), Jump(SECOND + 50, 1.9 * SECOND, 7.0)]
    assert envelope._merged(points, half) == [Jump(0.5 * SECOND, 1.9 * SECOND, 12.0)]
    over = [Jump(0.5 * SECOND, 2.9 * SECOND, 5.0), Jump(0.4 * SECOND, 1.9 * SECOND, -7.0)]
    assert envelope._merged(points, over) == [Jump(0.4 * SECOND, 2.9 * SECOND, -2.0)]
    # A jump is merged only with the jump directly before it.
    third = Jump(3.2 * SECOND, 3.3 * SECOND, 1.0)
    two = [Jump(0.5 * SECOND, 0.9 * SECOND, 5.0), Jump(3.1 * SECOND, 3.15 * SECOND, 2.0)]
    assert envelope._merged(points, [*two, third]) == [two[0], Jump(3.1 * SECOND, 3.3 * SECOND, 3.0)]
    touching = [Jump(0.5 * SECOND, 2 * SECOND, 1.0), Jump(2 * SECOND, 3.5 * SECOND, 1.0)]
    assert len(envelope._merged(points, touching)) == 1


def test_where_the_masters_clock_stood_still_the_jump_takes_its_time_on_the_workers() -> None:
    points = pings([0.0] * 40)
    assert at_most(100 * MS) == pytest.approx(115 * MS)
    ahead, behind = Jump(10 * SECOND, 10.5 * SECOND, 100 * MS), Jump(20 * SECOND, 20.5 * SECOND, -100 * MS)
    drawn = envelope._drawn_out(points, [ahead, behind])
    assert drawn[0] == ahead
    assert drawn[1].from_ns == pytest.approx(20 * SECOND - 115 * MS)
    assert drawn[1].to_ns == pytest.approx(20.5 * SECOND + 115 * MS)
    assert drawn[1].moved_ns == -100 * MS
    assert envelope._drawn_out(points, [Jump(5 * SECOND, 5.5 * SECOND, 0.0)]) == [
        Jump(5 * SECOND, 5.5 * SECOND, 0.0)
    ]


def mean_rate(points: Points, jumps: list[Jump]) -> tuple[float, float]:
    """Compute `_mean_rate` directly: try each pair of an upper and a lower bound that have no jump between them."""

    def side(at: float) -> tuple[int, ...]:
        return tuple(0 if at <= j.from_ns else 2 if at >= j.to_ns else 1 for j in jumps)

    least, most = -PART, PART
    for upper_at, upper in zip(points.upper_at, points.upper, strict=True):
        for lower_at, lower in zip(points.lower_at, points.lower, strict=True):
            if side(upper_at) != side(lower_at) or 1 in side(upper_at):
                continue
            if upper_at > lower_at:
                most = min(most, (upper - lower) / (upper_at - lower_at))
            elif upper_at < lower_at:
                least = max(least, (upper - lower) / (upper_at - lower_at))
    return least, most


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(-3000, 3000), min_size=2, max_size=20),
    st.floats(-100e-6, 100e-6),
    st.lists(st.tuples(st.integers(0, 19), st.integers(1, 3)), max_size=2),
)
def test_the_rate_is_bounded_by_each_pair_of_points_on_one_side_of_all_jumps(
    noise: list[int], rate: float, around: list[tuple[int, int]]
) -> None:
    points = pings([rate * number * SECOND + each for number, each in enumerate(noise)], width=4000)
    jumps = [Jump(at * SECOND, (at + length) * SECOND, 1.0) for at, length in around]
    least, most = mean_rate(points, jumps)
    assert envelope._mean_rate(points, jumps) == pytest.approx((least, most))
    expected = (max(-PART, least - 2 * WANDER), min(PART, most + 2 * WANDER))
    assert rates(points, jumps) == pytest.approx(expected)


def test_of_many_pings_the_narrowest_of_each_stretch_counts() -> None:
    count = 4 * envelope._STRETCHES
    points = pings([0.0] * count, width=1e6)
    narrow = np.arange(2, count, 4)
    points.upper[narrow], points.lower[narrow] = 500.0, -500.0
    only = Points(
        points.upper_at[narrow], points.upper[narrow], points.lower_at[narrow], points.lower[narrow]
    )
    assert envelope._mean_rate(points, []) == pytest.approx(mean_rate(only, []))
    # A ping whose bounds are wider apart is ignored, even if its upper bound is lower than those of the narrow pings.
    wider = np.arange(1, count, 4)
    points.upper[wider], points.lower[wider] = -400.0, -1e6
    assert mean_rate(points, []) != pytest.approx(mean_rate(only, []))
    assert envelope._mean_rate(points, []) == pytest.approx(mean_rate(only, []))


@pytest.mark.parametrize(("by", "known"), [(1.9, True), (2.1, False)])
def test_rates_that_contradict_each_other_by_more_than_crystals_wander_are_none(
    by: float, known: bool
) -> None:
    # The rate rises from 0 to `by` times `WANDER`. It may deviate from its mean by `WANDER` in each direction, so only
    # a rise by more than twice `WANDER` is a contradiction.
    times = np.arange(41, dtype=np.float64) * SECOND
    middle = np.where(times < 20 * SECOND, 0.0, (times - 20 * SECOND) * by * WANDER)
    found = envelope.rates(Points(times, middle + 1, times + 1, middle - 1), [])
    assert (found is not None) == known


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-900, 900), min_size=3, max_size=12), st.floats(-50e-6, 50e-6))
def test_between_two_steady_clocks_every_ping_bounds_every_moment(noise: list[int], rate: float) -> None:
    points = pings([rate * number * SECOND + each for number, each in enumerate(noise)])
    curve, jumps, (least, most) = steady_offset(points)
    assert jumps == []
    assert (least, most) == rates(points, [])
    low, high = points.both(curve.at_ns, least, most)
    assert curve.low_ns == pytest.approx(np.minimum(low, high), abs=1e-3)
    assert curve.high_ns == pytest.approx(np.maximum(low, high), abs=1e-3)
    assert curve.estimate_ns == pytest.approx((low + high) / 2, abs=1e-3)
    # The curve is linear between its nodes and extends one day beyond the points.
    assert curve.at_ns[0] == -FAR_NS
    assert curve.at_ns[-1] == points.lower_at[-1] + FAR_NS
    between = np.linspace(-SECOND, len(noise) * SECOND, 301)
    low, high = points.both(between, least, most)
    assert np.interp(between, curve.at_ns, curve.low_ns) == pytest.approx(low, abs=0.1)
    assert np.interp(between, curve.at_ns, curve.high_ns) == pytest.approx(high, abs=0.1)


def test_around_a_jump_of_a_steady_clock_either_side_is_possible() -> None:
    points = pings([0.0] * 10 + [40 * MS] * 10)
    curve, (jump,), (least, most) = steady_offset(points)
    assert (jump.from_ns, jump.to_ns) == (9 * SECOND, 10 * SECOND + 100)
    inside = np.linspace(jump.from_ns + 2, jump.to_ns - 2, 50)
    low, high = curve.interval(inside.astype(np.int64))
    earlier, later = points.between(-np.inf, jump.to_ns), points.between(jump.from_ns, np.inf)
    low_a, high_a = earlier.forward(inside, least, most)
    low_b, high_b = later.backward(inside, least, most)
    assert low == pytest.approx(np.minimum(low_a, low_b), abs=1)
    assert high == pytest.approx(np.maximum(high_a, high_b), abs=1)
    outside = np.array([5 * SECOND, 15 * SECOND]).astype(np.int64)
    low, high = curve.interval(outside)
    assert ((high - low) < 2500).all()
    assert (low + high).tolist() == pytest.approx([0, 80 * MS], abs=2000)


def test_what_lies_beyond_the_outermost_jump_without_a_bound_of_either_kind_is_left_out() -> None:
    points = pings([0.0] * 8)
    early, late = Jump(0.0, 0.5 * SECOND, 1.0), Jump(6.5 * SECOND, 7 * SECOND, 1.0)
    # Before the jump `early` there is no lower bound, so `_whole` leaves out that part and the jump. After the jump
    # `late` there are upper and lower bounds, so `late` stays.
    kept, jumps = envelope._whole(points, [early, late])
    assert jumps == [late]
    assert (len(kept.upper), len(kept.lower)) == (7, 7)
    late = Jump(6.5 * SECOND, 7 * SECOND + 50, 1.0)
    kept, jumps = envelope._whole(points, [early, late])
    assert jumps == []
    assert (kept.upper_at[0], kept.upper_at[-1]) == (SECOND, 6 * SECOND)
    middle = Jump(3.5 * SECOND, 3.9 * SECOND, 1.0)
    assert envelope._whole(points, [middle]) == (points, [middle])


def test_where_no_steady_rate_explains_the_pings_either_neighbour_is_possible() -> None:
    # The offset steps back and forth: no steady rate explains that, and each step is too small to count as a jump.
    points = pings([0.0, 300e3, 0.0, 300e3, 0.0, 300e3, 0.0], width=1000)
    curve, jumps, allowed = steady_offset(points)
    assert (jumps, allowed) == ([], (-PART, PART))
    same = neighbours(points)
    assert curve.at_ns.tolist() == same.at_ns.tolist()
    assert curve.low_ns.tolist() == same.low_ns.tolist()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-900_000, 900_000), min_size=2, max_size=8), st.integers(1, 400_000_000))
def test_by_neighbours_a_moment_is_what_the_ping_before_or_the_one_after_says(
    offsets: list[int], long: int
) -> None:
    points = pings([float(each) for each in offsets], width=200e3, long=float(long))
    curve = neighbours(points)
    count = len(offsets)
    times = np.linspace(-0.5 * SECOND, count * SECOND, 77)
    for time, low, high in zip(times, *curve.interval(times.astype(np.int64)), strict=True):
        time = float(int(time))
        says = []
        before = [n for n in range(count) if points.lower_at[n] <= time]
        after = [n for n in range(count) if points.upper_at[n] >= time]
        for number in (*before[-1:], *after[:1]):
            top = points.upper[number] + PART * abs(time - points.upper_at[number])
            bottom = points.lower[number] - PART * abs(time - points.lower_at[number])
            says.append((bottom, top))
        bottom, top = min(bottom for bottom, _ in says), max(top for _, top in says)
        # While a ping is under way, the bounds of the ping before and of the ping after cross between two nodes of the
        # curve. There the curve may be wider than these bounds.
        under_way = any(points.upper_at[n] < time < points.lower_at[n] for n in range(count))
        wider = PART * long if under_way else 0.0
        assert bottom - wider - 2 <= low <= bottom + 2
        assert top - 2 <= high <= top + wider + 2
    assert (curve.low_ns <= curve.estimate_ns).all()
    assert (curve.estimate_ns <= curve.high_ns).all()
    assert (curve.at_ns[0], curve.at_ns[-1]) == (-FAR_NS, points.lower_at[-1] + FAR_NS)
