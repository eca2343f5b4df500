"""What a user sees of the run that it is part of.

Users depend on this and not on `loadgen.run`, which provides it: dependencies point one way.
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
    """When the phases after the barrier begin and end; nanoseconds of the master's wall clock."""

    warmup_ns: int
    measure_ns: int
    measure_end_ns: int
    drain_end_ns: int


@dataclass(slots=True)
class Progress:
    """Counts that a worker reports to the coordinator; those that are not of what is there now are cumulative."""

    connected: int = 0
    acknowledged: int = 0
    ready: int = 0
    failed: int = 0
    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    lost_connections: int = 0
    opened: int = 0
    """Connections that were opened, those that have gone included."""
    requested: int = 0
    """Subscriptions that were asked for, those that have gone included."""
    throttled: int = 0
    """Connects and subscribes that the service has refused for now."""


class Readiness(Protocol):
    """Proves that a subscription delivers."""

    def watch(self, channel: str, on_ready: Callable[[int], None]) -> None:
        """Call ``on_ready`` with a time once the settle time has passed; with probes, the user sees it itself."""

    def proven(self, channel: str) -> None:
        """A subscription to ``channel`` has received an event."""

    def probed_since_ns(self, channel: str) -> int | None:
        """When the first probe that a subscription to ``channel`` could receive was sent; None: none was."""

    def withdraw(self, channel: str) -> None:
        """A subscription to ``channel`` that was waiting is gone."""


class WorkerRun(Protocol):
    """The run as the users of one worker process see it."""

    recorder: Recorder
    service: Service
    address: Address
    #: Opens all sockets of this worker.
    dialer: Dialer
    readiness: Readiness
    progress: Progress
    #: What failed in this process that is not the service's doing.
    failures: Failures
    #: What the user's own code has asserted.
    checks: Checks
    #: Bytes of the largest event that the service takes by default, or None if it has no such limit.
    most_event_bytes: int | None
    #: No more publishes: the schedule has ended or the run was interrupted.
    publishing_over: bool

    def claim(self, role: str) -> ClientPlan | None:
        """Wait for the plan of the next client of that role; None: there is none left."""

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait until the client's turn to connect has come; false: the run is over."""

    def wait_until(self, due_ns: int) -> None:
        """Block until the master's clock shows ``due_ns``; return at once where that is past."""

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""

    def joined(self) -> None:
        """A user has begun to play its role."""

    def left(self) -> None:
        """A user has hung up and recorded everything."""

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready; return when the phases begin and end, None if the run is over."""

    def wait_for_end(self) -> None:
        """Wait until the run is over."""

    @property
    def stopping(self) -> bool:
        """Whether the run is over or was interrupted."""

    def report_error(self, reason: str, fatal: bool) -> None:
        """Report why a client failed; fatal: trying again cannot help."""
