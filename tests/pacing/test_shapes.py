"""Test the common load curves: their points give the documented schedule, exact to the nanosecond."""

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.pacing import Curve, Pace, Point, offsets_ns, request_count, shapes

SECOND = 1_000_000_000
LOADS = st.floats(0, 5)


@given(
    loads=st.lists(LOADS, min_size=1, max_size=12),
    each_ns=st.integers(1, 20 * SECOND),
    rate=st.floats(0.5, 500),
)
def test_a_step_holds_exactly_its_share_of_the_schedule(
    loads: list[float], each_ns: int, rate: float
) -> None:
    curve = Curve(rate, shapes.steps(loads, each_ns))
    for number, load in enumerate(loads):
        within = curve.requests_before((number + 1) * each_ns) - curve.requests_before(number * each_ns)
        assert within == Fraction(load * rate) * each_ns / SECOND


def test_the_requests_of_each_step_are_its_rate_times_its_length() -> None:
    pace = Pace(100.0, curve=shapes.steps([0.5, 1.0, 0.0, 0.25], 2 * SECOND))
    due = [
        offset
        for index in range(3)
        for offset in offsets_ns(pace, clients=3, index=index, seed=1, duration_ns=8 * SECOND)
    ]
    assert [sum(1 for at in due if at // (2 * SECOND) == step) for step in range(4)] == [100, 200, 0, 50]


def test_the_edge_of_a_step_belongs_to_the_step_that_begins() -> None:
    pace = Pace(1.0, curve=shapes.steps([1.0, 10.0], SECOND))
    assert list(offsets_ns(pace, clients=1, index=0, seed=1, duration_ns=SECOND + SECOND // 4)) == [
        0,
        SECOND,
        SECOND + SECOND // 10,
        SECOND + SECOND // 5,
    ]


@given(first=LOADS, last=LOADS, count=st.integers(2, 50))
def test_even_loads_go_one_way_and_meet_both_ends(first: float, last: float, count: int) -> None:
    loads = shapes.even_loads(first, last, count)
    assert (len(loads), loads[0], loads[-1]) == (count, first, last)
    slack = 1e-12 * max(first, last)
    up = last >= first
    assert all((b >= a - slack) if up else (b <= a + slack) for a, b in pairwise(loads))


@given(
    base=st.floats(0, 1),
    more=st.floats(0.01, 4),
    lasting_ns=st.integers(1, 5 * SECOND),
    pause_ns=st.integers(1, 5 * SECOND),
    first_ns=st.integers(0, 10 * SECOND),
    bursts=st.integers(1, 20),
)
def test_bursts_add_their_height_for_their_length_and_nothing_else(
    base: float, more: float, lasting_ns: int, pause_ns: int, first_ns: int, bursts: int
) -> None:
    every_ns = lasting_ns + pause_ns
    until_ns = first_ns + bursts * every_ns
    points = shapes.bursts(
        base, base + more, every_ns=every_ns, lasting_ns=lasting_ns, first_ns=first_ns, until_ns=until_ns
    )
    curve = Curve(1.0, points)
    peak = Fraction(base + more)
    wanted = (Fraction(base) * (until_ns - bursts * lasting_ns) + peak * bursts * lasting_ns) / SECOND
    assert curve.requests_before(until_ns) == wanted
    for number in range(bursts):
        begin_ns = first_ns + number * every_ns
        inside = curve.requests_before(begin_ns + lasting_ns) - curve.requests_before(begin_ns)
        assert inside == peak * lasting_ns / SECOND


def test_without_a_burst_in_time_the_base_holds() -> None:
    assert shapes.bursts(0.2, 1, every_ns=9, lasting_ns=1, first_ns=8, until_ns=8) == (Point(0, 0.2),)


@settings(deadline=None)
@given(
    low=st.floats(0, 1),
    swing=st.floats(0.01, 4),
    day_ns=st.integers(SECOND, 24 * 3600 * SECOND),
    peak_at=st.integers(0, 86_399),
    starts_at=st.integers(0, 86_399),
    days=st.integers(1, 3),
    where=st.floats(0, 1),
)
def test_a_day_is_the_cosine_within_the_stated_error(
    low: float, swing: float, day_ns: int, peak_at: int, starts_at: int, days: int, where: float
) -> None:
    points = shapes.daily(
        low,
        low + swing,
        day_ns=day_ns,
        peak_at=peak_at / 86_400,
        starts_at=starts_at / 86_400,
        days=days,
    )
    assert (points[0].at_ns, points[-1].at_ns) == (0, day_ns * days)
    assert all(b.at_ns > a.at_ns for a, b in pairwise(points))
    at_ns = int(where * day_ns * days)
    phase = at_ns / day_ns + (starts_at - peak_at) / 86_400
    wanted = low + swing * (1 + math.cos(2 * math.pi * phase)) / 2
    bound = swing * math.pi**2 / (4 * shapes.POINTS_A_DAY**2)
    # A point's time is a whole nanosecond; for a short day, this rounding changes the load a little.
    assert abs(shapes.load_at(points, at_ns) - wanted) <= bound + swing * 2 * math.pi / day_ns + 1e-12
    assert max(point.load for point in points) == pytest.approx(low + swing, abs=1e-6)
    # Over whole days the mean of a raised cosine is half way between its minimum and maximum. If the start and end cut
    # a straight segment of the curve in two, this is only approximately so.
    mean = Curve(1.0, points).requests_before(day_ns * days) / (Fraction(day_ns * days) / SECOND)
    assert float(mean) == pytest.approx(low + swing / 2, abs=swing * 1e-4)


@given(
    rows=st.lists(st.tuples(st.integers(1, 60 * SECOND), LOADS), min_size=2, max_size=20),
    rate=st.floats(0.5, 500),
)
def test_a_flat_series_holds_each_row_until_the_next(rows: list[tuple[int, float]], rate: float) -> None:
    at_ns = [0]
    for gap_ns, _ in rows[1:]:
        at_ns.append(at_ns[-1] + gap_ns)
    loads = [load for _, load in rows]
    curve = Curve(rate, shapes.series(at_ns, loads, flat=True))
    for (begin_ns, end_ns), load in zip(pairwise(at_ns), loads, strict=False):
        assert curve.requests_before(end_ns) - curve.requests_before(begin_ns) == (
            Fraction(load * rate) * (end_ns - begin_ns) / SECOND
        )
    last_ns = at_ns[-1] - at_ns[-2]
    assert shapes.series(at_ns, loads, flat=True)[-1] == Point(at_ns[-1] + last_ns, loads[-1])


def test_a_series_of_lines_passes_through_its_rows() -> None:
    points = shapes.series([0, SECOND, 3 * SECOND], [0.0, 1.0, 0.5], flat=False)
    assert points == (Point(0, 0.0), Point(SECOND, 1.0), Point(3 * SECOND, 0.5))
    assert [shapes.load_at(points, at) for at in (0, SECOND // 2, SECOND, 2 * SECOND, 9 * SECOND)] == [
        0,
        0.5,
        1,
        0.75,
        0.5,
    ]


def test_a_curve_of_ten_thousand_points_is_made_once_for_all_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = Curve.__init__

    def counted(self: Curve, rate_per_s: float, points: Sequence[Point]) -> None:
        made.append(points)
        whole(self, rate_per_s, points)

    monkeypatch.setattr(Curve, "__init__", counted)
    pace = Pace(50.0, curve=shapes.steps([0.5 + (n % 7) / 10 for n in range(5_000)], SECOND // 1000))
    due = sum(
        sum(1 for _ in offsets_ns(pace, clients=200, index=index, seed=1, duration_ns=5 * SECOND))
        for index in range(200)
    )
    assert due == request_count(pace, 5 * SECOND)
    assert len(made) == 1


def test_where_no_burst_begins_the_load_is_the_base() -> None:
    for first_ns in (0, 50):
        found = shapes.bursts(2.0, 9.0, every_ns=10, lasting_ns=5, first_ns=first_ns, until_ns=0)
        assert found == (Point(0, 2.0),)
