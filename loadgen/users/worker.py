"""The interface between users and the run that they are part of.

`loadgen.run` implements it. Users depend on this module instead, so that dependencies point one way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from loadgen.measure.checks import Checks
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.protocol.base import Service
from loadgen.resolve import ClientPlan
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer


@dataclass(frozen=True, slots=True)
class Timeline:
    """Start and end of the phases after the barrier, in ns on the master's wall clock."""

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


class Readiness(Protocol):
    """Decides when a subscription is ready: once a probe arrives on it, or after a settle time."""

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        """Wait for one more subscription to ``channel`` to become ready.

        Without probes, ``on_ready`` is called with the time after the settle time. With probes it is never called: the
        user sees the probe arrive and calls :meth:`proven`.
        """

    def proven(self, channel: str) -> None:
        """Stop waiting for a subscription to ``channel``, because it has received an event."""

    def probed_since_ns(self, channel: str) -> int | None:
        """Return when the first probe for subscriptions to ``channel`` was sent, or None if none was."""

    def withdraw(self, channel: str) -> None:
        """Stop waiting for a subscription to ``channel``, because it has ended or was refused."""


class WorkerRun(Protocol):
    """The run, as the users of one worker process see it."""

    recorder: Recorder
    service: Service
    address: Address
    #: Opens all sockets of this worker.
    dialer: Dialer
    readiness: Readiness
    progress: Progress
    #: Failures of this process that the service did not cause.
    failures: Failures
    #: Checks that the user's code makes.
    checks: Checks
    #: Bytes of the largest event that the service takes by default, or None if it has no such limit.
    most_event_bytes: int | None
    #: True once nothing more may be published: the schedule has ended or the run was interrupted.
    publishing_over: bool

    def claim(self, role: str) -> ClientPlan | None:
        """Wait for the plan of the next client of ``role`` and return it, or None if no client is left."""

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait for the client's turn to connect; return False if the run is over before."""

    def wait_until(self, due_ns: int) -> None:
        """Block until the master's clock shows ``due_ns``; return at once if it is past."""

    def local_ns(self, master_ns: int) -> int:
        """Convert a time of the master's clock to this process's clock."""

    def master_ns(self, local_ns: int) -> int:
        """Convert a time of this process's clock to the master's."""

    def publish_channel(self, channel: str) -> str:
        """Return a channel in the protocol's normal form; raises ValueError if nothing can be published to it."""

    def joined(self) -> None:
        """Count a user that begins to play its client."""

    def left(self) -> None:
        """Count a user that has closed its connection and recorded everything."""

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready; return the timeline, or None if the run is over before."""

    def wait_for_end(self) -> None:
        """Wait until the run is over."""

    @property
    def stopping(self) -> bool:
        """True once the run is over or was interrupted."""

    def report_error(self, reason: str, fatal: bool) -> None:
        """Report why a client failed; ``fatal`` means that trying again cannot help."""
