"""Test how many users of each class Locust's options and a load shape give a locustfile, and at which times."""

from types import SimpleNamespace
from typing import Any

import pytest
from locust import LoadTestShape

from loadgen.exits import RunError
from loadgen.run.locust.locustfile_run import run_of_classes, stands_alone
from loadgen.users.journeys.user import EventsUser
from loadgen.users.roles import Publisher

SECOND = 1_000_000_000


class Often(EventsUser):
    weight = 3


class Rare(EventsUser):
    weight = 1


class Fixed(EventsUser):
    fixed_count = 2


def options(**given: Any) -> Any:
    return SimpleNamespace(
        **{
            "num_users": None,
            "spawn_rate": None,
            "run_time": None,
            "overrides": [],
            "target": None,
            "data": [],
        }
        | given
    )


def counts(*classes: type, shape: LoadTestShape | None = None, **given: Any) -> dict[str, int]:
    run, _ = run_of_classes(classes, options(**given), shape)
    return {group.name: group.count for group in run.groups}


def test_users_are_divided_by_fixed_counts_and_weights() -> None:
    assert counts(Often, Rare, Fixed, num_users=10) == {"Often": 6, "Rare": 2, "Fixed": 2}
    assert counts(Often, Rare, num_users=7) == {"Often": 5, "Rare": 2}
    assert counts(Often, num_users=1) == {"Often": 1}
    assert counts(Fixed) == {"Fixed": 2}
    assert sum(counts(Often, Rare, Fixed, num_users=101).values()) == 101


def test_the_phases_follow_the_options() -> None:
    run, _ = run_of_classes([Often], options(num_users=100, spawn_rate=10, run_time=30), None)
    assert (run.phases.warmup_ns, run.phases.measure_ns) == (10 * SECOND, 30 * SECOND)
    assert run.groups[0].ramp_per_s == 10
    run, _ = run_of_classes([Often], options(overrides=["phases.measure=3s", "seed=7"]), None)
    assert (run.phases.measure_ns, run.seed) == (3 * SECOND, 7)


class Waves(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        at_s = self.get_run_time()  # type: ignore[no-untyped-call]
        return (8, 4.0) if at_s < 10 else (16, 4.0) if at_s < 20 else None


class Broken(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        raise RuntimeError("no")


class Empty(LoadTestShape):
    def tick(self) -> tuple[int, float] | None:
        return None


def test_a_load_shape_is_played_through_before_the_run() -> None:
    run, _ = run_of_classes([Often, Rare], options(), Waves())  # type: ignore[no-untyped-call]
    assert run.phases.measure_ns == 20 * SECOND
    assert {
        group.name: (group.count, [(s.at_ns, s.users) for s in group.stages]) for group in run.groups
    } == {
        "Often": (12, [(0, 6), (10 * SECOND, 12)]),
        "Rare": (4, [(0, 2), (10 * SECOND, 4)]),
    }


@pytest.mark.parametrize(("shape", "said"), [(Broken, "tick() at 0 s failed at"), (Empty, "ends at once")])
def test_a_shape_that_cannot_be_followed_is_refused(shape: type[LoadTestShape], said: str) -> None:
    with pytest.raises(RunError) as caught:
        run_of_classes([Often], options(), shape())
    assert said in str(caught.value)


@pytest.mark.parametrize("item", ["people", "people=", "people=people.txt"])
def test_data_is_a_name_and_a_file(item: str) -> None:
    with pytest.raises(RunError, match="write NAME=FILE"):
        run_of_classes([Often], options(data=[item]), None)


def test_a_locustfile_stands_alone_if_no_scenario_was_named() -> None:
    assert stands_alone([Often], "comments", "comments")
    assert not stands_alone([Often], "mine.yaml", "comments")
    assert not stands_alone([Publisher], "comments", "comments")
    assert not stands_alone([Often, Publisher], "comments", "comments")
