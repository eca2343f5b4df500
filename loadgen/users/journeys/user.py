"""The user class of journeys: Locust users with tasks, whose client is measured like every other client."""

import logging
from typing import Any, Final

from locust import User
from locust.env import Environment
from locust.user.task import LOCUST_STATE_RUNNING, TaskSet
from locust.user.users import UserMeta

from loadgen.resolve import ClientPlan, journey_role
from loadgen.users import declared, making
from loadgen.users.journeys import calls
from loadgen.users.journeys.client import JourneyClient
from loadgen.users.journeys.playing import Journey
from loadgen.users.journeys.rows import OwnRows
from loadgen.users.making import run_of
from loadgen.users.worker import WorkerRun

_LISTENING: Final = "loadgen_journeys"


class EventsUserMeta(UserMeta):
    """Creates the users of journeys, even if the `__init__` of a user class raises."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:  # noqa: N805  a metaclass
        """Create a user; if its `__init__` fails in a run, count the failure and use `User.__init__` instead."""
        return making.made(cls, super().__call__, arguments, named)

    @property
    def role(cls) -> str:  # noqa: N805
        """The name by which the run's plan calls this class's clients."""
        return journey_role(cls.__name__)


class EventsUser(User, metaclass=EventsUserMeta):
    """Base of your own users: tasks, weights, tags, waits, on_start and on_stop are those of Locust.

    A user begins at the warm-up, after the subscriptions of the scenario's other groups are ready, and ends with the
    measure phase. What it does before the measure phase is warm-up.
    """

    abstract = True
    #: The journey's client, which connects, subscribes, publishes, and waits for events.
    client: JourneyClient
    #: The rows that this client takes from the run's data, such as ``self.data.people["id"]``.
    data: OwnRows
    #: The planned client that this user is in the run: its number, its group, and its index in the group.
    client_plan: ClientPlan

    def __init_subclass__(cls, **named: Any) -> None:
        """Check a new user class; raises UserClassError if it declares anything that cannot work."""
        super().__init_subclass__(**named)
        declared.demand_playable(cls, EventsUser)

    def run(self) -> None:  # type: ignore[misc]  # final for users of Locust, whose lives are not ours
        """Take the next client of this class from the plan, and run its tasks until the run is over."""
        self._state = LOCUST_STATE_RUNNING

        def begin(run: WorkerRun) -> None:
            _listen(self.environment)
            plan = run.claim(type(self).role)
            if plan is not None:
                Journey(run, plan, self).play()

        unbegun = "no run has begun: start this file with `loadgen run` or `locust -f`"
        making.play(self.environment, unbegun, "a journey", begin)

    def on_start(self) -> None:
        """Override to prepare the user; called once, before its first task."""

    def on_stop(self) -> None:
        """Override to clean up; called once, before the connection is closed."""

    def check(self, name: str, ok: object) -> bool:
        """Count a check under ``name``, as passed if ``ok`` is true, else as failed; return ``ok`` as a bool.

        The gate metric `checks.failed` counts the failed ones.
        """
        return making.check(self.environment, name, ok)


def _listen(environment: Environment) -> None:
    """Count exceptions in tasks of task sets, which Locust reports by `user_error`; listen once per environment."""
    if getattr(environment, _LISTENING, False):
        return
    setattr(environment, _LISTENING, True)
    environment.events.user_error.add_listener(_on_user_error)  # type: ignore[no-untyped-call]
    # Locust would log a traceback for each exception; `Failures` already reports the failure, once.
    logging.getLogger("locust.user.task").addFilter(lambda record: record.levelno < logging.ERROR)


def _on_user_error(user_instance: Any, exception: BaseException, **_: Any) -> None:
    user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
    run = run_of(user.environment) if isinstance(user, EventsUser) else None
    if run is not None:
        calls.failed(run, f"a task of {type(user_instance).__name__}", exception)
