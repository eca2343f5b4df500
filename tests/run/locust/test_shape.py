"""The load shape follows the run of its own process, from run to run."""

from types import SimpleNamespace
from typing import Any

from gevent.event import Event
from locust.env import Environment

from loadgen.run.locust.install import give_shapes
from loadgen.run.locust.shape import ScenarioShape


class Runs:
    """The runs of a process, as a test says."""

    def __init__(self) -> None:
        self.run: Any = None
        self.total_users = 6

    def begin(self) -> Any:
        ended = Event()
        self.run = SimpleNamespace(ended=ended, over=False)
        return self.run

    def end(self) -> None:
        self.run.over = True
        self.run.ended.set()


def test_all_users_are_spawned_at_once_until_the_run_is_over() -> None:
    runs = Runs()
    shape = ScenarioShape().of(runs)
    shape.reset_time()
    assert shape.tick() == (6, 6.0)
    runs.begin()
    runs.run.ended.set()  # the wait is over at once
    assert shape.tick() == (6, 6.0)
    runs.end()
    assert shape.tick() is None


def test_a_second_run_begins_though_the_first_is_over() -> None:
    runs = Runs()
    shape = ScenarioShape().of(runs)
    shape.reset_time()
    runs.begin()
    runs.end()
    assert shape.tick() is None
    # The web UI's Start, once more.
    shape.reset_time()
    assert shape.tick() == (6, 6.0)
    runs.begin()
    runs.end()
    assert shape.tick() is None


def test_a_master_resets_the_time_of_a_run_that_has_begun_and_it_ends_all_the_same() -> None:
    runs = Runs()
    shape = ScenarioShape().of(runs)
    for _ in range(2):
        shape.reset_time()
        assert shape.tick() == (6, 6.0)
        runs.begin()
        shape.reset_time()  # by Locust's MasterRunner.start
        runs.end()
        assert shape.tick() is None


def test_a_run_that_the_web_ui_has_stopped_is_followed_by_another() -> None:
    runs = Runs()
    shape = ScenarioShape().of(runs)
    shape.reset_time()
    assert shape.tick() == (6, 6.0)
    runs.begin()
    runs.end()  # the greenlet that calls `tick` was killed
    shape.reset_time()
    assert shape.tick() == (6, 6.0)


def test_a_shape_without_runs_ends_a_test_at_once() -> None:
    shape = ScenarioShape()
    shape.reset_time()
    assert shape.tick() is None


class OwnShape(ScenarioShape):
    """A shape of the user's, with state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 7


def test_two_environments_do_not_share_their_runs() -> None:
    one, two = Runs(), Runs()
    two.total_users = 2
    first = Environment(shape_class=ScenarioShape())
    own = OwnShape()
    second = Environment(shape_class=own, available_shape_classes={"OwnShape": own})
    give_shapes(first, one)
    give_shapes(second, two)
    for environment, users in ((first, 6), (second, 2)):
        shape: Any = environment.shape_class
        shape.reset_time()
        assert shape.tick() == (users, float(users))
    # What a user's class holds stays, and the class picker finds a shape that follows the runs too.
    picked: Any = second.available_shape_classes["OwnShape"]  # type: ignore[index]
    assert isinstance(second.shape_class, OwnShape)
    assert picked.factor == second.shape_class.factor == 7
    assert picked.tick() == (2, 2.0)
