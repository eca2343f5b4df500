"""The master's state of the workers of one run: the clients of each, their counts, and how each of them ended."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadgen.exits import ExitCode, RunError
from loadgen.resolve import ResolvedRun
from loadgen.run.shares import Share, shares
from loadgen.run.worker_info import WorkerInfo
from loadgen.run.worker_messages import Finished, Status

_SECOND_NS = 1_000_000_000
#: Tolerance (s) of the check that a worker does not report on more seconds than have passed: delayed reports may arrive
#: together.
_SPARE_SECONDS = 60


@dataclass
class WorkerState:
    """The master's state of one worker."""

    info: WorkerInfo
    share: Share
    progress: Counter[str] = field(default_factory=Counter)
    deliveries: int = 0
    complaints: dict[str, int] = field(default_factory=dict)
    #: The reason for which the target permanently refuses this worker, or None.
    fatal: str | None = None
    #: The reason why this worker cannot run its clients, or None; `broken_code` is the matching exit code.
    broken: str | None = None
    broken_code: int = int(ExitCode.INCONCLUSIVE)
    finished: Finished | None = None
    #: Number of seconds for which histograms and live reports were received.
    seconds: int = 0
    #: True while the worker is out of reach; it may come back.
    gone: bool = False
    #: True if the worker never began, so that there is no record to wait for.
    absent: bool = False
    #: The reason why the worker left before the end of the run, or None.
    left: str | None = None
    #: Bytes of the worker's record that the worker has written but the master has not received.
    missing_bytes: int = 0

    @property
    def pending(self) -> bool:
        """True if the master still waits for the worker's record."""
        return self.finished is None and not self.gone and not self.absent

    @property
    def whole(self) -> bool:
        """True if the worker stayed to the end of the run and the master has its whole record."""
        return self.finished is not None and self.left is None and not self.missing_bytes

    def take(self, status: Status, elapsed_ns: int) -> None:
        """Store the counts in a worker's report, which arrived ``elapsed_ns`` after the run began.

        Raises:
            ValueError: the worker reports on more seconds than have passed.
        """
        self.seconds += max(status.histogram is not None, len(status.live))
        if self.seconds > _SPARE_SECONDS + 1.5 * elapsed_ns / _SECOND_NS:
            raise ValueError("it reports more seconds than have passed")
        self.progress = Counter(status.progress)
        self.deliveries = status.deliveries
        self.complaints = status.complaints
        self.fatal = self.fatal or status.fatal
        if status.broken and self.broken is None:
            self.broken, self.broken_code = status.broken, status.broken_code
            self.absent = self.absent or status.absent

    def grant(self, wanted: Mapping[str, int]) -> dict[str, list[int]]:
        """Hand out the worker's next unclaimed clients: return their numbers by role, up to the ``wanted`` counts."""
        granted = {}
        for role, count in wanted.items():
            free = self.share.free.get(role, deque())
            granted[role] = [free.popleft() for _ in range(min(count, len(free)))]
        return granted

    def described(self) -> dict[str, Any]:
        """Return the worker's entry in the manifest's `workers`."""
        info, share = self.info, self.share
        return {
            # Put the worker's report first, so that the master's own facts override it.
            **(self.finished.described() if self.finished is not None else {}),
            "worker": info.worker,
            "id": info.worker_id,
            "hostname": info.hostname,
            "address": info.address,
            "pid": info.pid,
            "boot_id": info.boot_id,
            "cpus": info.cpus,
            "weight": float(info.weight),
            "clients": share.clients,
            "subscriptions": share.subscriptions,
            "finished": self.whole,
            "left": self.left,
        }

    def how_lost(self) -> str:
        """Return a sentence on how a worker was lost; call it only if the worker is not `whole`."""
        which = f"worker {self.info.worker} ({self.info.hostname}, pid {self.info.pid})"
        if self.left is not None:
            return f"{which} left before the end: {self.left}"
        if self.missing_bytes:
            return f"{which} could not hand over its record: {self.missing_bytes:,} bytes of it are missing"
        return f"{which} was lost: its part of the record breaks off"


class Workers(Mapping[str, WorkerState]):
    """All workers of one run, by their id."""

    def __init__(self, run: ResolvedRun, workers: Sequence[WorkerInfo]) -> None:
        dealt = shares(run, [info.weight for info in workers])
        self._states = {
            info.worker_id: WorkerState(info, share) for info, share in zip(workers, dealt, strict=True)
        }
        self._counts = {worker_id: state.share.counts() for worker_id, state in self._states.items()}

    def __getitem__(self, worker_id: str) -> WorkerState:
        """Return the state of one worker."""
        return self._states[worker_id]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the workers' ids."""
        return iter(self._states)

    def __len__(self) -> int:
        """Return how many workers the run began with."""
        return len(self._states)

    @property
    def in_master(self) -> bool:
        """True if the master's own process is a worker."""
        return any(state.info.in_master for state in self.values())

    @property
    def pending(self) -> bool:
        """True if the master still waits for the record of a worker."""
        return any(state.pending for state in self.values())

    @property
    def deliveries(self) -> int:
        """Deliveries that the workers have reported."""
        return sum(state.deliveries for state in self.values())

    def counts(self, worker_id: str) -> dict[str, int]:
        """Return the number of clients of each role that a worker runs."""
        return dict(self._counts[worker_id])

    def totals(self) -> Counter[str]:
        """Return the sum of the workers' counts."""
        total: Counter[str] = Counter()
        for state in self.values():
            total.update(state.progress)
        return total

    def complaints(self) -> list[tuple[str, int]]:
        """Return the reasons for which clients failed, each with its number of failures, most frequent first."""
        total: Counter[str] = Counter()
        for state in self.values():
            total.update(state.complaints)
        return total.most_common()

    def described(self) -> list[dict[str, Any]]:
        """Return the manifest's `workers`."""
        return [state.described() for state in self.values()]

    def lost(self) -> list[WorkerState]:
        """Return the workers that left early, were lost, or did not hand over their whole record."""
        return [state for state in self.values() if not state.whole]

    def check_able(self) -> None:
        """Check that no worker has reported that it cannot run its clients; lost workers are ignored.

        Raises:
            RunError: a worker has reported that it cannot run its clients.
        """
        for state in self.values():
            if state.broken is not None:
                raise RunError(state.broken, ExitCode(state.broken_code))

    def check_complete(self) -> None:
        """Check that every worker can begin, since the measurement needs all workers.

        Raises:
            RunError: the target refuses a worker for good, or a worker is lost or has left.
        """
        for state in self.values():
            if state.fatal is not None:
                raise RunError(f"the target refused: {state.fatal}", ExitCode.TARGET)
            if state.gone or state.left is not None:
                how = "was lost" if state.left is None else f"left ({state.left})"
                raise RunError(f"{state.info.name} {how} before the measurement began", ExitCode.INCONCLUSIVE)

    def check_any(self) -> None:
        """Check that at least one worker still takes part.

        Raises:
            RunError: all workers are out of reach or have left.
        """
        if self and all(state.gone or state.left for state in self.values()):
            raise RunError("all workers are gone: the run cannot go on", ExitCode.INCONCLUSIVE)
