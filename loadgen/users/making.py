"""Functions that all user classes share: find an environment's run, create a user, run a client, count a check."""

from collections.abc import Callable
from typing import Any, Final

from gevent import GreenletExit
from locust import User
from locust.env import Environment

from loadgen.console import say
from loadgen.measure.failures import HARNESS, USER_CODE
from loadgen.users import declared
from loadgen.users.declared import UserClassError
from loadgen.users.worker import WorkerRun

_RUN: Final = "loadgen_run"
#: The value of `ExitCode.USAGE`, repeated because users must not depend on `loadgen.run`.
_USAGE: Final = 2

declared.say_and_end(say, _USAGE)


def attach(environment: Environment, run: WorkerRun) -> None:
    """Give the run to the users that Locust will start in this environment."""
    setattr(environment, _RUN, run)


def run_of(environment: Environment) -> WorkerRun | None:
    """Return the run of an environment, or None if none has begun."""
    run: WorkerRun | None = getattr(environment, _RUN, None)
    return run


def made(cls: Any, create: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Create a user; if its `__init__` fails in a run, count the failure and use `User.__init__` instead.

    So Locust goes on spawning users, and the run ends with a record.
    """
    environment = arguments[0] if arguments else named.get("environment")
    run = run_of(environment) if isinstance(environment, Environment) else None
    user: Any
    try:
        user = create(*arguments, **named)
        if hasattr(user, "environment"):
            return user
        raise UserClassError("it does not call super().__init__(environment)")
    except GreenletExit:
        raise
    except BaseException as error:
        if run is None:
            raise
        place = declared.place_of_function(cls.__init__) if isinstance(error, UserClassError) else None
        run.failures.add(USER_CODE, f"{cls.__name__}.__init__()", error, place)
    user = object.__new__(cls)
    User.__init__(user, environment)
    return user


def play(environment: Environment, unbegun: str, what: str, begin: Callable[[WorkerRun], None]) -> None:
    """Run a user's client to the end of the environment's run, or print ``unbegun`` if no run has begun.

    ``begin`` is the function that runs the client. Its exceptions are counted as failures of the harness; ``what``
    names the failed activity, such as `a journey`.
    """
    run = run_of(environment)
    if run is None:
        say(unbegun)
        return
    guarded(run, what, begin, run)


def guarded(run: WorkerRun, what: str, call: Callable[..., object], *arguments: object) -> None:
    """Call a function in a user's greenlet; count an exception as a failure of the harness, as `play` does."""
    try:
        call(*arguments)
    except GreenletExit:
        # Locust ends its users by this exception when the run is over.
        return
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        # BaseException, because panics of the MQTT codec, which is written in Rust, are not Exceptions.
        run.failures.add(HARNESS, what, error)


def check(environment: Environment, name: str, ok: object) -> bool:
    """Count a check in the environment's run, if it has one; return ``ok`` as a bool."""
    passed = bool(ok)
    run = run_of(environment)
    if run is not None:
        run.checks.count(name if type(name) is str else str(name), passed)
    return passed
