"""Test when a journey's publishes are due, with simulated time."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locust import User, between, constant, constant_pacing, constant_throughput

from loadgen.users.journeys.pacing import Moments, schedule, schedule_of, wait_of

SECOND = 1_000_000_000


class Time:
    def __init__(self) -> None:
        self.now_ns = 1_000 * SECOND

    def __call__(self) -> int:
        return self.now_ns

    def passes(self, seconds: float) -> None:
        self.now_ns += int(seconds * SECOND)


def moments(time: Time, wait: Any, kept: Any = None, failed: list[BaseException] | None = None) -> Moments:
    return Moments(wait, kept, Random("1/journey/0/0"), ([] if failed is None else failed).append, time)


def classed(wait_time: Any) -> type:
    return type("Mine", (User,), {"wait_time": wait_time})


@pytest.mark.parametrize(
    ("wait_time", "period_s"),
    [
        (between(1, 5), None),
        (constant(3), None),
        (lambda self: 2, None),
        (constant_pacing(2), 2.0),
        (constant_throughput(4), 0.25),
        (schedule(5), 0.2),
    ],
)
def test_only_a_pacing_that_keeps_a_schedule_is_an_open_loop(wait_time: Any, period_s: float | None) -> None:
    found = schedule_of(classed(wait_time))
    assert (None if found is None else found.period_ns / SECOND) == period_s


def test_the_first_publish_of_a_closed_loop_is_due_at_the_end_of_the_wait() -> None:
    time = Time()
    of = moments(time, lambda: 3)
    of.begin()
    assert of.take() == (time(), time())
    time.passes(0.5)
    assert of.wait_s() == 3
    due_ns = time() + 3 * SECOND
    # Locust's sleep ends late, so the publish is late too; this lateness is the generator's.
    time.passes(3.25)
    assert of.take() == (due_ns, due_ns)
    # A task's second publish is due when it is requested, because the journey waited for an answer before.
    time.passes(1)
    assert of.take() == (time(), time())


def test_a_publish_after_a_wait_within_the_task_is_due_then() -> None:
    time = Time()
    of = moments(time, lambda: 1)
    of.wait_s()
    time.passes(1)
    of.waited()
    time.passes(7)
    assert of.take() == (time(), time())


@given(st.lists(st.floats(0, 3), min_size=1, max_size=50))
def test_a_schedule_is_kept_whatever_the_tasks_take(tasks_s: list[float]) -> None:
    time = Time()
    of = moments(time, None, schedule(1.0))
    of.begin()
    first_ns = time()
    of.take()
    for number, task_s in enumerate(tasks_s, start=1):
        time.passes(task_s)
        ended_ns = time()
        wait_s = of.wait_s()
        due_ns = first_ns + number * SECOND
        assert wait_s == max(0, due_ns - ended_ns) / SECOND
        time.now_ns = max(time(), due_ns)
        # If the previous task took longer than its slot, this publish is late because of the target, not
        # because of the generator.
        assert of.take() == (due_ns, max(due_ns, ended_ns))


def test_a_poisson_schedule_has_its_rate_and_its_seed() -> None:
    def dues(seed: str) -> list[int]:
        time = Time()
        of = Moments(lambda: 0, schedule(10, poisson=True), Random(seed), lambda _: None, time)
        of.begin()
        found = []
        for _ in range(2_000):
            of.wait_s()
            found.append(of.take()[0])
        return found

    assert dues("a") == dues("a") != dues("b")
    found = dues("a")
    assert (found[-1] - found[0]) / len(found) == pytest.approx(SECOND / 10, rel=0.1)


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "soon", None])
def test_a_wait_time_that_fails_is_counted_and_the_journey_goes_on(wrong: Any) -> None:
    failed: list[BaseException] = []
    of = moments(Time(), lambda: wrong, failed=failed)
    assert of.wait_s() == 1.0
    assert len(failed) == 1


@pytest.mark.parametrize("rate", [0, -1, float("nan"), 1e9])
def test_a_schedule_needs_a_rate(rate: float) -> None:
    with pytest.raises(ValueError, match="a rate above 0"):
        schedule(rate)


def test_a_schedule_can_stand_where_locust_expects_a_wait() -> None:
    assert schedule(4)(SimpleNamespace()) == 0.25
    assert str(schedule(4, poisson=True)) == "poisson schedule, 4/s a user"


@given(st.integers(), st.floats(0, 5), st.floats(0, 5))
def test_waits_between_two_bounds_are_drawn_by_the_clients_own_seed(
    seed: int, one_s: float, other_s: float
) -> None:
    least_s, most_s = sorted((one_s, other_s))
    user: Any = object.__new__(classed(between(least_s, most_s)))
    wait, again, foreign = (wait_of(user, Random(number)) for number in (seed, seed, seed + 1))
    waits_s = [wait() for _ in range(20)]
    assert waits_s == [again() for _ in range(20)]
    assert all(least_s <= wait_s <= most_s for wait_s in waits_s)
    if most_s - least_s > 0.001:
        assert waits_s != [foreign() for _ in range(20)]


def test_another_wait_time_is_the_users_own() -> None:
    class Growing(User):
        waits = 0

        def wait_time(self) -> float:
            self.waits += 1
            return self.waits

    wait = wait_of(object.__new__(Growing), Random(1))
    assert [wait(), wait()] == [1, 2]
