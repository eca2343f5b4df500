"""The Locust user classes.

A user takes its identity from the run's plan: which client of the scenario it is, to what it subscribes, what it
publishes and when. So the same scenario gives the same clients, however many processes share them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from gevent import GreenletExit
from locust import User
from locust.env import Environment
from locust.user.task import LOCUST_STATE_RUNNING
from locust.user.users import UserMeta

from loadgen.console import say
from loadgen.measure.failures import HARNESS, USER_CODE
from loadgen.resolve import ClientPlan
from loadgen.users import declared
from loadgen.users.code import UserCode
from loadgen.users.declared import UserClassError
from loadgen.users.playing import Client
from loadgen.users.worker import WorkerRun

_RUN = "loadgen_run"
#: `ExitCode.USAGE`: users do not depend on `loadgen.run`.
_USAGE = 2

declared.say_and_end(say, _USAGE)


def attach(environment: Environment, run: WorkerRun) -> None:
    """Make the run known to the users that Locust will start in this environment."""
    setattr(environment, _RUN, run)


def _run_of(environment: Environment) -> WorkerRun | None:
    run: WorkerRun | None = getattr(environment, _RUN, None)
    return run


class LoadUserMeta(UserMeta):
    """Makes user classes and users: what is not honoured is refused, what `__init__` raises ends no client."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:  # noqa: N805  a metaclass
        """Make a user; Locust's spawning would end with what `__init__` raises."""
        environment = arguments[0] if arguments else named.get("environment")
        run = _run_of(environment) if isinstance(environment, Environment) else None
        made: Any = cls
        user: Any
        try:
            user = super().__call__(*arguments, **named)
            if hasattr(user, "environment"):
                return user
            raise UserClassError("it does not call super().__init__(environment)")
        except GreenletExit:
            raise
        except BaseException as error:
            if run is None:
                raise
            place = declared.place_of_function(made.__init__) if isinstance(error, UserClassError) else None
            run.failures.add(USER_CODE, f"{cls.__name__}.__init__()", error, place)
        user = object.__new__(made)
        User.__init__(user, environment)
        return user

    def __setattr__(cls, name: str, value: Any) -> None:  # noqa: N805  a metaclass
        """Set an attribute of a class; raises UserClassError where it would not be honoured."""
        declared.demand_settable(cls, name, value, LoadUser)
        super().__setattr__(name, value)


class LoadUser(User, metaclass=LoadUserMeta):
    """What the three roles share; not for direct use.

    Locust starts one user for each client and calls :meth:`run` once. Its task machinery takes no part: nothing that is
    raised can make it play a client a second time.
    """

    abstract = True
    #: Which clients of the scenario this class plays.
    role: ClassVar[str]

    #: The worker's part in the run, and the client that this user plays; from on_start() on.
    run_of_worker: WorkerRun
    client_plan: ClientPlan

    def __init_subclass__(cls, **named: Any) -> None:
        """Refuse what is not honoured; raises UserClassError."""
        super().__init_subclass__(**named)
        declared.demand_honoured(cls, LoadUser)

    def run(self) -> None:  # type: ignore[misc]  # final for users of Locust, whose tasks are not ours
        """Take an identity from the plan and play that client until the run is over."""
        self._state = LOCUST_STATE_RUNNING
        run = _run_of(self.environment)
        if run is None:
            say("no scenario is running: start Locust with --scenario NAME")
            return
        try:
            client = run.claim(self.role)
            if client is None:
                return
            self.run_of_worker, self.client_plan = run, client
            Client(run, client, UserCode(self, LoadUser, run)).play()
        except GreenletExit:
            # Locust ends its users with it when the run is over.
            return
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            # A panic of the codec is no Exception.
            run.failures.add(HARNESS, "a client", error)

    def on_start(self) -> None:
        """Override to prepare a client: called once, when its turn to connect has come and before it does."""

    def on_stop(self) -> None:
        """Override to wind up a client: called once, when the run is over and the connection is closed."""

    def on_delivery(self, channel: str, event: str) -> None:
        """Override to look at each delivery after it was recorded; costs CPU on the receive path, must not block.

        ``channel`` is what was subscribed to, ``event`` the event's JSON text.
        """

    def payload(self) -> Mapping[str, Any] | None:
        """Override to give events members of your own; None: only padding up to the scenario's payload size."""
        return None

    def check(self, name: str, ok: object) -> bool:
        """Count whether something holds, under a name; return it. The gate metric `checks.failed` counts the others."""
        passed = bool(ok)
        run = _run_of(self.environment)
        if run is not None:
            run.checks.count(name if type(name) is str else str(name), passed)
        return passed


class Subscriber(LoadUser):
    """Subscribes over one connection to one or many channels."""

    role = "subscriber"


class Publisher(LoadUser):
    """Publishes on an open-loop schedule, over HTTP or WebSocket."""

    role = "publisher"


class Participant(LoadUser):
    """Subscribes and publishes over the same connection, as the members of a room do."""

    role = "participant"
