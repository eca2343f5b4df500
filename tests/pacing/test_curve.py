"""Test load curves: each request is sent when the integral of the rate reaches its number, even at steps and pauses."""

from itertools import count, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.pacing import Arrival, Curve, Pace, Point, offsets_ns, request_count

SECOND = 1_000_000_000


def seconds(*points: tuple[float, float]) -> tuple[Point, ...]:
    return tuple(Point(int(at * SECOND), load) for at, load in points)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    times = sorted(draw(st.lists(st.integers(0, 20 * SECOND), min_size=1, max_size=6)))
    loads = draw(st.lists(st.floats(0, 5), min_size=len(times), max_size=len(times)))
    rate = draw(st.floats(0.5, 500))
    return Curve(rate, [Point(at, load) for at, load in zip(times, loads, strict=True)])


@given(curve=curves())
def test_each_request_is_due_when_the_integral_reaches_its_number(curve: Curve) -> None:
    numbers = range(0, 3000, 7)
    for number, offset in zip(numbers, curve.offsets_ns(map(float, numbers)), strict=False):
        # At a load near zero, the times are so large that they are no longer exact to a nanosecond.
        if offset > 1000 * SECOND:
            break
        # Where the rate is near zero, rounding a request's number changes its time much. So the assertions allow a
        # small error in the number.
        assert float(curve.requests_before(max(0, offset - 2))) <= number + 1e-5
        assert float(curve.requests_before(offset + 2)) >= number - 1e-5


@given(curve=curves(), duration_ns=st.integers(1, 25 * SECOND))
def test_the_count_is_the_integral_of_the_profile(curve: Curve, duration_ns: int) -> None:
    integral = float(curve.requests_before(duration_ns))
    due = sum(1 for _ in takewhile(lambda each: each < duration_ns, curve.offsets_ns(map(float, count()))))
    assert integral - 1e-6 <= due <= integral + 1 + 1e-6


def test_a_ramp_is_the_square_root() -> None:
    ramp = Curve(100.0, seconds((0, 0), (10, 1)))
    assert list(ramp.offsets_ns([0.0, 5.0, 125.0, 500.0, 600.0])) == [
        0,
        SECOND,
        5 * SECOND,
        10 * SECOND,
        11 * SECOND,
    ]


def test_a_falling_ramp_mirrors_a_rising_one() -> None:
    rising = Curve(100.0, seconds((0, 0), (10, 1)))
    falling = Curve(100.0, seconds((0, 1), (10, 0)))
    positions = [0.5, 3.0, 77.0, 250.0, 499.5]
    mirrored = [
        10 * SECOND - offset for offset in rising.offsets_ns(500 - each for each in reversed(positions))
    ]
    for got, expected in zip(falling.offsets_ns(positions), reversed(mirrored), strict=True):
        assert abs(got - expected) <= 2


def test_a_step_is_two_points_at_one_time() -> None:
    step = Curve(10.0, seconds((0, 1), (1, 1), (1, 3)))
    assert list(step.offsets_ns([0.0, 5.0, 10.0, 13.0, 40.0])) == [
        0, SECOND // 2, SECOND, SECOND + SECOND // 10, 2 * SECOND,
    ]  # fmt: skip


def test_nothing_is_due_in_a_pause() -> None:
    pause = Curve(10.0, seconds((0, 1), (1, 1), (1, 0), (3, 0), (3, 1)))
    assert list(pause.offsets_ns([9.0, 10.0, 11.0])) == [
        9 * SECOND // 10,
        3 * SECOND,
        3 * SECOND + SECOND // 10,
    ]


def test_a_schedule_that_starts_with_a_pause_starts_after_it() -> None:
    assert list(Curve(10.0, seconds((2, 0), (2, 1))).offsets_ns([0.0, 1.0])) == [
        2 * SECOND,
        2 * SECOND + SECOND // 10,
    ]


@pytest.mark.parametrize("arrival", Arrival)
def test_a_load_that_ends_at_zero_ends_the_schedule(arrival: Arrival) -> None:
    pace = Pace(10.0, arrival, curve=seconds((0, 1), (2, 1), (2, 0)))
    offsets = list(offsets_ns(pace, clients=1, index=0, seed=1, duration_ns=10**15))
    assert offsets
    assert offsets[-1] < 2 * SECOND


def test_the_group_count_follows_the_profile() -> None:
    pace = Pace(100.0, curve=seconds((0, 0), (10, 1), (20, 1), (20, 0.5)))
    total = sum(
        len(list(offsets_ns(pace, clients=3, index=index, seed=1, duration_ns=24 * SECOND)))
        for index in range(3)
    )
    assert total == request_count(pace, 24 * SECOND) == 500 + 1000 + 200


def test_bursts_follow_the_profile() -> None:
    pace = Pace(100.0, Arrival.BURSTS, burst=10, curve=seconds((0, 0.5), (2, 0.5), (2, 1)))
    clients = [
        list(offsets_ns(pace, clients=2, index=index, seed=1, duration_ns=3 * SECOND)) for index in (0, 1)
    ]
    bursts_ms = [[offset // 1_000_000 for offset in client[::10]] for client in clients]
    assert bursts_ms == [[0, 400, 800, 1200, 1600, 2000, 2200, 2400, 2600, 2800],
                         [200, 600, 1000, 1400, 1800, 2100, 2300, 2500, 2700, 2900]]  # fmt: skip
    assert sum(map(len, clients)) == request_count(pace, 3 * SECOND) == 200


def test_poisson_follows_the_profile() -> None:
    pace = Pace(1000.0, Arrival.POISSON, curve=seconds((0, 0), (10, 1)))
    offsets = list(offsets_ns(pace, clients=1, index=0, seed=11, duration_ns=10 * SECOND))
    assert len(offsets) == pytest.approx(5000, abs=4 * 5000**0.5)
    first_half = sum(1 for offset in offsets if offset < 5 * SECOND)
    assert first_half == pytest.approx(1250, abs=4 * 1250**0.5)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ((), "a load curve needs at least one point"),
        (seconds((1, 1), (0, 1)), "a load curve's points must be in order of time"),
        (seconds((0, -1)), "a load curve's loads and times must not be negative"),
        ((Point(-1, 1),), "a load curve's loads and times must not be negative"),
    ],
)
def test_impossible_curves_are_refused(points: tuple[Point, ...], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        Curve(1.0, points)
    assert str(caught.value) == sentence
