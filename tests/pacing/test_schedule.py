"""Test schedules: exact counts, even spacing within groups, correct Poisson distribution, no drift."""

import math
import statistics
from collections.abc import Callable
from fractions import Fraction
from itertools import chain, islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.pacing import Arrival, Pace, Point, offsets_ns, request_count

SECOND = 1_000_000_000
RATES = st.floats(min_value=0.01, max_value=5_000)
DURATIONS = st.integers(min_value=0, max_value=400_000_000)


def group(pace: Pace, clients: int, duration_ns: int, seed: int = 1) -> list[list[int]]:
    return [
        list(offsets_ns(pace, clients=clients, index=index, seed=seed, duration_ns=duration_ns))
        for index in range(clients)
    ]


def merged(clients: list[list[int]]) -> list[int]:
    return sorted(chain.from_iterable(clients))


@given(rate=RATES, duration_ns=DURATIONS, clients=st.integers(1, 7))
def test_constant_arrival_has_exactly_rate_times_duration_requests(
    rate: float, duration_ns: int, clients: int
) -> None:
    offsets = merged(group(Pace(rate), clients, duration_ns))
    assert len(offsets) == math.ceil(Fraction(rate) * duration_ns / SECOND)
    assert len(offsets) == request_count(Pace(rate), duration_ns)
    assert offsets == [int(number * SECOND / Fraction(rate)) for number in range(len(offsets))]


@given(rate=RATES, clients=st.integers(1, 7))
def test_a_group_of_constant_clients_is_as_even_as_one_client(rate: float, clients: int) -> None:
    one = group(Pace(rate), 1, SECOND // 4)[0]
    many = group(Pace(rate), clients, SECOND // 4)
    assert merged(many) == one
    assert [offset for turn in zip(*many, strict=False) for offset in turn] == one[: len(many[-1]) * clients]


def test_a_constant_schedule_has_not_drifted_by_a_nanosecond_after_a_day() -> None:
    pace = Pace(3.0)
    day_ns = 86_400 * SECOND
    offsets = list(offsets_ns(pace, clients=1, index=0, seed=1, duration_ns=day_ns))
    assert offsets[-1] == (3 * 86_400 - 1) * SECOND // 3
    assert offsets[3 * 3600 :: 3 * 3600] == [hour * 3600 * SECOND for hour in range(1, 24)]


@given(
    rate=RATES,
    arrival=st.sampled_from(Arrival),
    corners=st.lists(st.tuples(st.integers(0, 300_000_000), st.floats(0, 3)), max_size=5),
    duration_ns=DURATIONS,
)
def test_offsets_rise_and_stay_within_the_duration(
    rate: float, arrival: Arrival, corners: list[tuple[int, float]], duration_ns: int
) -> None:
    curve = tuple(Point(at, load) for at, load in sorted(corners))
    pace = Pace(rate, arrival, burst=3 if arrival is Arrival.BURSTS else 1, curve=curve)
    offsets = list(islice(offsets_ns(pace, clients=2, index=1, seed=5, duration_ns=duration_ns), 2000))
    assert all(0 <= offset < duration_ns for offset in offsets)
    assert all(earlier <= later for earlier, later in pairwise(offsets))


def test_a_steady_curve_gives_the_schedule_of_no_curve() -> None:
    with_curve = Pace(640.0, curve=(Point(0, 1.0), Point(SECOND, 1.0)))
    for plain, curved in zip(
        group(Pace(640.0), 3, 3 * SECOND), group(with_curve, 3, 3 * SECOND), strict=True
    ):
        assert len(plain) == len(curved)
        assert max(abs(a - b) for a, b in zip(plain, curved, strict=True)) <= 1


@given(size=st.integers(1, 20), rate=RATES, clients=st.integers(1, 4))
def test_bursts_come_whole_and_evenly_at_the_same_mean_rate(size: int, rate: float, clients: int) -> None:
    pace = Pace(rate, Arrival.BURSTS, burst=size)
    offsets = merged(group(pace, clients, SECOND // 3))
    assert len(offsets) == request_count(pace, SECOND // 3)
    assert abs(len(offsets) - rate / 3) <= size
    bursts = offsets[::size]
    assert offsets == [burst for burst in bursts for _ in range(size)]
    assert bursts == [int(number * size * SECOND / Fraction(rate)) for number in range(len(bursts))]


def test_one_burst_is_sent_by_one_client() -> None:
    first, second = group(Pace(30.0, Arrival.BURSTS, burst=10), 2, SECOND)
    assert first == [0] * 10 + [2 * SECOND // 3] * 10
    assert second == [SECOND // 3] * 10


def test_poisson_counts_have_mean_and_variance_of_the_rate() -> None:
    pace = Pace(200.0, Arrival.POISSON)
    per_window = [0] * 1000
    for client in group(pace, 4, 100 * SECOND, seed=7):
        for offset in client:
            per_window[offset // (SECOND // 10)] += 1
    # Each of the 1,000 windows is expected to have 20 events. The standard error of the mean count is 0.14, that
    # of the variance 0.9.
    assert statistics.fmean(per_window) == pytest.approx(20, abs=0.5)
    assert statistics.pvariance(per_window) == pytest.approx(20, abs=3)


def test_poisson_gaps_are_exponential() -> None:
    offsets = group(Pace(1000.0, Arrival.POISSON), 1, 20 * SECOND, seed=3)[0]
    gaps = sorted(later - earlier for earlier, later in pairwise(offsets))
    for share in (0.1, 0.5, 0.9, 0.99):
        expected_ns = -math.log(1 - share) * SECOND / 1000
        assert gaps[int(share * len(gaps))] == pytest.approx(expected_ns, rel=0.08)


def test_poisson_clients_are_independent_and_repeatable() -> None:
    pace = Pace(100.0, Arrival.POISSON)
    assert group(pace, 3, SECOND) == group(pace, 3, SECOND)
    assert group(pace, 3, SECOND, seed=1) != group(pace, 3, SECOND, seed=2)
    one, two, _ = group(pace, 3, 5 * SECOND)
    assert not set(one) & set(two)


def test_poisson_is_the_same_on_every_machine() -> None:
    offsets = offsets_ns(
        Pace(10.0, Arrival.POISSON), clients=2, index=1, seed="42/writers", duration_ns=SECOND
    )
    assert list(offsets) == [609976344, 668376453, 939956885]


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Pace(0), "requests_per_s must be above 0, not 0"),
        (lambda: Pace(math.inf), "requests_per_s must be above 0, not inf"),
        (lambda: Pace(1, Arrival.BURSTS, burst=0), "burst must be at least 1, not 0"),
        (lambda: Pace(1, burst=2), "burst has no meaning with constant arrival"),
        (
            lambda: offsets_ns(Pace(1), clients=2, index=2, seed=1, duration_ns=1),
            "client index must be in 0..1, not 2",
        ),
    ],
)
def test_impossible_paces_are_refused(build: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value) == sentence
