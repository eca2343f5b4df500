"""The interface between users and the run that they are part of.

`loadgen.run` implements it. Users depend on this module instead, so that dependencies point one way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gevent import Greenlet

from loadgen.measure.checks import Checks
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.base import Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import ClientPlan
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer


@dataclass(frozen=True, slots=True)
class Timeline:
    """Start and end of the phases that follow once all subscriptions are ready, in ns on the master's wall clock."""

    warmup_ns: int
    measure_ns: int
    measure_end_ns: int
    drain_end_ns: int


@dataclass(slots=True)
class Progress:
    """Counts that a worker reports. `connected`, `acknowledged` and `ready` are gauges; the rest only grow."""

    connected: int = 0
    acknowledged: int = 0
    ready: int = 0
    failed: int = 0
    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    lost_connections: int = 0
    opened: int = 0
    """Connections opened so far, including those that have ended."""
    requested: int = 0
    """Subscriptions requested so far, including those that have ended."""
    throttled: int = 0
    """Connects and subscribes that the service refused for now, and that are retried."""
    shut_connections: int = 0
    """Number of connections of clients whose own login was refused; the run goes on without them."""
    shut_subscriptions: int = 0
    """Number of subscriptions of clients whose own login was refused."""


class Readiness(Protocol):
    """Decides when a subscription is ready: once a probe arrives on it, or after a settle time.

    A probe is an event that the worker publishes for this purpose. The settle time is a fixed time after the
    subscription's acknowledgement.
    """

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        """Wait for one more subscription to ``channel`` to become ready.

        Without probes, ``on_ready`` is called after the settle time, with the current time. With probes, ``on_ready``
        is called only for a member of a shared subscription, and only if other members received the probes. In all
        other cases the user sees a probe arrive and calls :meth:`proven`.
        """

    def proven(self, channel: str) -> None:
        """Stop waiting for a subscription to ``channel``, because it has received an event."""

    def probed_since_ns(self, channel: str) -> int | None:
        """Return the time of the first probe for subscriptions to ``channel``, or None if none was sent."""

    def withdraw(self, channel: str) -> None:
        """Stop waiting for a subscription to ``channel``, because it has ended or was refused."""


class Logins(Protocol):
    """The logins of a worker's clients."""

    def obtain(self, client: ClientPlan) -> str | None:
        """Fetch the client's own login; return None, or the reason of the failure, which is already reported.

        This method may block.
        """

    def service(self, client: ClientPlan) -> Service:
        """Return the service with the client's own login; call :meth:`obtain` first."""

    def own(self, client: ClientPlan) -> bool:
        """Return True if the client has a login of its own. Refusing such a login does not affect other clients."""

    def refused(self, client: ClientPlan, told: str, subscription: int | None = None) -> None:
        """Report that a client's own login was refused, so that the ramp does not wait for this client any longer.

        ``subscription`` is the number of the one refused subscription, or None if the login as a whole was refused.
        """

    def note(self, client: ClientPlan, told: str) -> None:
        """Report the message ``told`` about a client with its own login, with the client's name in front."""

    def publish_refused(self, client: ClientPlan, told: str) -> None:
        """Report that the service refused a publish, once for each client with a login of its own."""


class NoLogins:
    """Implements `Logins` for a run in which all clients share the target's login."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def obtain(self, client: ClientPlan) -> str | None:
        """Return None, which means no error: there is no login to fetch."""
        return None

    def service(self, client: ClientPlan) -> Service:
        """Return the service that all clients share."""
        return self._service

    def own(self, client: ClientPlan) -> bool:
        """Return False: all clients share the target's login."""
        return False

    def refused(self, client: ClientPlan, told: str, subscription: int | None = None) -> None:
        """Never called, since `own` is False."""

    def note(self, client: ClientPlan, told: str) -> None:
        """Never called, since `own` is False."""

    def publish_refused(self, client: ClientPlan, told: str) -> None:
        """Do nothing, since no client has a login of its own."""


class WorkerRun(Protocol):
    """The run, as the users of one worker process see it."""

    recorder: Recorder
    #: The service with the target's login; :attr:`logins` gives the service with a client's own login.
    service: Service
    #: Adds stamps to events to publish, and reads the stamps of received events.
    stamping: Stamping
    #: The rules of the service's protocol.
    rules: ProtocolRules
    address: Address
    #: Opens all sockets of this worker.
    dialer: Dialer
    readiness: Readiness
    progress: Progress
    #: Failures of this process that the service did not cause.
    failures: Failures
    #: Checks that the user's code makes.
    checks: Checks
    #: Bytes of the largest event that the service accepts by default, or None if it has no such limit.
    most_event_bytes: int | None
    #: True once nothing more may be published: the schedule has ended or the run was interrupted.
    publishing_over: bool

    def claim(self, role: str) -> ClientPlan | None:
        """Wait for the plan of the next client of ``role`` and return it, or None if no client is left."""

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait for the client's turn to connect; return False if the run ends first."""

    def wait_until(self, due_ns: int) -> None:
        """Block until the master's clock shows ``due_ns``; return at once if it is past."""

    def local_ns(self, master_ns: int) -> int:
        """Return the time on this process's clock that corresponds to ``master_ns`` on the master's clock."""

    def master_ns(self, local_ns: int) -> int:
        """Return the time on the master's clock that corresponds to ``local_ns`` on this process's clock."""

    def publish_channel(self, channel: str) -> str:
        """Return a channel in the protocol's normal form; raises ValueError if nothing can be published to it."""

    def joined(self) -> None:
        """Count a user that begins to play its client."""

    def left(self) -> None:
        """Count a user that has closed its connection and recorded everything."""

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready; return the phases' times, or None if the run ends first."""

    def wait_for_end(self) -> None:
        """Wait until the run is over."""

    def start_at_end(self, greenlet: Greenlet) -> None:
        """Start a greenlet once the run is over."""

    @property
    def logins(self) -> Logins:
        """The logins of this worker's clients."""

    @property
    def stopping(self) -> bool:
        """True once the run is over or was interrupted."""

    def report_error(self, reason: str, fatal: bool) -> None:
        """Report the reason of a client's failure; ``fatal`` means that trying again cannot help."""
