"""The user class of journeys: Locust users with tasks, whose client is measured like every other client."""

import logging
from typing import Any, ClassVar, Final

from gevent import GreenletExit
from locust import User
from locust.env import Environment
from locust.user.task import LOCUST_STATE_RUNNING, TaskSet
from locust.user.users import UserMeta

from loadgen.console import say
from loadgen.measure.failures import HARNESS
from loadgen.resolve import ClientPlan, journey_role
from loadgen.users import declared, making
from loadgen.users.journeys import calls
from loadgen.users.journeys.client import JourneyClient
from loadgen.users.journeys.playing import Journey
from loadgen.users.journeys.rows import OwnRows
from loadgen.users.making import run_of

#: The value of `ExitCode.USAGE`, repeated because users must not depend on `loadgen.run`.
_USAGE: Final = 2
_LISTENING: Final = "loadgen_journeys"

declared.say_and_end(say, _USAGE)


class EventsUserMeta(UserMeta):
    """Creates journeys' users: survives an exception of `__init__`."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:  # noqa: N805  a metaclass
        """Create a user; if its `__init__` fails in a run, count that and use Locust's, so that spawning goes on."""
        return making.made(cls, super().__call__, arguments, named)


class EventsUser(User, metaclass=EventsUserMeta):
    """Base of your own users: tasks, weights, tags, waits, on_start and on_stop are those of Locust.

    A user begins at the warm-up, after the subscriptions of the scenario's other groups are ready, and ends with the
    measure phase. What it does before the measure phase is warm-up.
    """

    abstract = True
    #: The role of the run's clients that this class plays; set for each subclass.
    role: ClassVar[str] = ""

    #: Connects, subscribes, publishes, and waits for events.
    client: JourneyClient
    #: The rows that this client takes from the run's data, such as ``self.data.people["id"]``.
    data: OwnRows
    #: The client that this user plays: its number in the run, its group, and its place in the group.
    client_plan: ClientPlan

    def __init_subclass__(cls, **named: Any) -> None:
        """Check a new user class; raises UserClassError for what cannot work."""
        super().__init_subclass__(**named)
        declared.demand_playable(cls, EventsUser)
        cls.role = journey_role(cls.__name__)

    def run(self) -> None:  # type: ignore[misc]  # final for users of Locust, whose lives are not ours
        """Take the next client of this class from the plan, and run its tasks until the run is over."""
        self._state = LOCUST_STATE_RUNNING
        run = run_of(self.environment)
        if run is None:
            say("no run has begun: start this file with `loadgen run` or `locust -f`")
            return
        _listen(self.environment)
        try:
            plan = run.claim(self.role)
            if plan is not None:
                Journey(run, plan, self).play()
        except GreenletExit:
            # Locust ends its users this way when the run is over.
            return
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            run.failures.add(HARNESS, "a journey", error)

    def on_start(self) -> None:
        """Override to prepare the user; called once, before its first task."""

    def on_stop(self) -> None:
        """Override to clean up; called once, before the connection is closed."""

    def check(self, name: str, ok: object) -> bool:
        """Count a check under ``name``, as passed if ``ok`` is true, else as failed; return ``ok`` as a bool.

        The gate metric `checks.failed` counts the failed ones.
        """
        passed = bool(ok)
        run = run_of(self.environment)
        if run is not None:
            run.checks.count(name if type(name) is str else str(name), passed)
        return passed


def _listen(environment: Environment) -> None:
    """Count what is raised in tasks of task sets, of which Locust tells by an event; once for an environment."""
    if getattr(environment, _LISTENING, False):
        return
    setattr(environment, _LISTENING, True)
    environment.events.user_error.add_listener(_on_user_error)  # type: ignore[no-untyped-call]
    # Locust prints a traceback each time; the failure is told once, by `Failures`.
    logging.getLogger("locust.user.task").addFilter(lambda record: record.levelno < logging.ERROR)


def _on_user_error(user_instance: Any, exception: BaseException, **_: Any) -> None:
    user = user_instance.user if isinstance(user_instance, TaskSet) else user_instance
    run = run_of(user.environment) if isinstance(user, EventsUser) else None
    if run is not None:
        calls.failed(run, f"a task of {type(user_instance).__name__}", exception)
