"""Test that the load shape follows the runs of its process, one after the other."""

from types import SimpleNamespace
from typing import Any

from gevent.event import Event
from locust.env import Environment

from loadgen.run.locust.install import give_shapes
from loadgen.run.locust.shape import ScenarioShape


class Runs:
    """A stand-in for the runs of a process: a test begins and ends each run."""

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
    runs.run.ended.set()  # so that `tick` does not wait
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
    # The user presses Start in the web UI again.
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
        shape.reset_time()  # as Locust's MasterRunner.start does
        runs.end()
        assert shape.tick() is None


def test_a_run_that_the_web_ui_has_stopped_is_followed_by_another() -> None:
    runs = Runs()
    shape = ScenarioShape().of(runs)
    shape.reset_time()
    assert shape.tick() == (6, 6.0)
    runs.begin()
    runs.end()  # at this point, Locust kills the greenlet that calls `tick`
    shape.reset_time()
    assert shape.tick() == (6, 6.0)


def test_a_shape_without_runs_ends_a_test_at_once() -> None:
    shape = ScenarioShape()
    shape.reset_time()
    assert shape.tick() is None


class OwnShape(ScenarioShape):
    """A user's own shape, with a state."""

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
    # The shape in use and the one in the web UI's class picker keep the user's attribute, and both follow `two`.
    picked: Any = second.available_shape_classes["OwnShape"]  # type: ignore[index]
    assert isinstance(second.shape_class, OwnShape)
    assert picked.factor == second.shape_class.factor == 7
    assert picked.tick() == (2, 2.0)
