"""The Locust user classes.

A user takes its identity from the run's plan: which client of the scenario it plays, its subscriptions, and the content
and times of its publishes. So a scenario yields the same clients regardless of the number of worker processes.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from locust import User
from locust.user.task import LOCUST_STATE_RUNNING
from locust.user.users import UserMeta

from loadgen.resolve import ClientPlan
from loadgen.users import declared, making
from loadgen.users.code import UserCode
from loadgen.users.making import attach
from loadgen.users.playing import Client
from loadgen.users.resting import rest
from loadgen.users.worker import WorkerRun

__all__ = ["LoadUser", "LoadUserMeta", "Participant", "Publisher", "Subscriber", "attach"]


class LoadUserMeta(UserMeta):
    """Creates user classes and users: refuses unsupported attributes, and goes on if a user's `__init__` raises."""

    def __call__(cls, *arguments: Any, **named: Any) -> Any:  # noqa: N805  a metaclass
        """Create a user; if its `__init__` fails in a run, count the failure and use `User.__init__` instead."""
        return making.made(cls, super().__call__, arguments, named)

    def __setattr__(cls, name: str, value: Any) -> None:  # noqa: N805  a metaclass
        """Set an attribute of a class; raises UserClassError if it is not supported."""
        declared.demand_settable(cls, name, value, LoadUser)
        super().__setattr__(name, value)


class LoadUser(User, metaclass=LoadUserMeta):
    """Base of the three roles; do not subclass it directly.

    Locust starts one user for each client and calls :meth:`run` once. Locust's task machinery is not used, so no
    exception can make it play a client a second time.
    """

    abstract = True
    #: The role of the scenario's clients that this class plays.
    role: ClassVar[str]

    #: The worker's interface to the run; set before on_start() is called.
    run_of_worker: WorkerRun
    #: The client that this user plays; set before on_start() is called.
    client_plan: ClientPlan

    def __init_subclass__(cls, **named: Any) -> None:
        """Check a new user class; raises UserClassError for an unsupported attribute."""
        super().__init_subclass__(**named)
        declared.demand_honoured(cls, LoadUser)

    def run(self) -> None:  # type: ignore[misc]  # final for users of Locust, whose tasks are not ours
        """Take the next client of this role from the plan and play it until the run is over.

        For a client that only subscribes, this returns to Locust as soon as the client has connected, to free the
        greenlet; see `resting`.
        """
        self._state = LOCUST_STATE_RUNNING

        def begin(run: WorkerRun) -> None:
            client = run.claim(self.role)
            if client is not None:
                self.run_of_worker, self.client_plan = run, client
                Client(run, client, UserCode(self, LoadUser, run)).play(partial(rest, self, run))

        making.play(
            self.environment, "no scenario is running: start Locust with --scenario NAME", "a client", begin
        )

    def on_start(self) -> None:
        """Override to prepare a client. Called once, at the client's turn in the ramp, before it connects."""

    def on_stop(self) -> None:
        """Override to clean up after a client. Called once, when the run is over and the connection is closed."""

    def on_delivery(self, channel: str, event: str) -> None:
        """Override to look at each delivery after it was recorded. Must not block; costs CPU on the receive path.

        ``channel`` is the subscribed channel or pattern, ``event`` the event's JSON text.
        """

    def payload(self) -> Mapping[str, Any] | None:
        """Override to add members to each event; return None for padding only, up to the scenario's payload size."""
        return None

    def check(self, name: str, ok: object) -> bool:
        """Count a check under ``name``, as passed if ``ok`` is true, else as failed; return ``ok`` as a bool.

        The gate metric `checks.failed` counts the failed ones.
        """
        return making.check(self.environment, name, ok)


class Subscriber(LoadUser):
    """Subscribes to one or more channels over one connection."""

    role = "subscriber"


class Publisher(LoadUser):
    """Publishes on an open-loop schedule, over HTTP or over its own connection."""

    role = "publisher"


class Participant(LoadUser):
    """Subscribes and publishes over the same connection, like a member of a chat room."""

    role = "participant"
