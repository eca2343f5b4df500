"""The coordinator: takes a run on the master through its phases and always ends it with a record."""

import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from traceback import format_exception
from typing import Any, Final

from gevent.event import Event

from analysis.record import files, places
from analysis.record.places import Place
from loadgen.data.tables import Tables
from loadgen.exits import ExitCode, RunError, why
from loadgen.live.state import LiveState
from loadgen.live.view import View
from loadgen.measure.clock import boot_id
from loadgen.measure.failures import message_of, place_of
from loadgen.planning.budget import Budget
from loadgen.resolve import ResolvedRun
from loadgen.resolve.rows import ClientRows
from loadgen.run import echo
from loadgen.run.account import Account
from loadgen.run.early_gates import EarlyGates
from loadgen.run.group_logins import described
from loadgen.run.kills import KillWatch, killed_here
from loadgen.run.master.doubts import Doubts
from loadgen.run.master.inbox import Inbox
from loadgen.run.master.phases import Clock, GateFailedError, Interrupted, Phases, StoppedError
from loadgen.run.master.progress import ProgressView, Snapshot
from loadgen.run.master.workers import Workers
from loadgen.run.master_messages import Begin, Finish, StoragePart
from loadgen.run.master_pauses import MasterPauses
from loadgen.run.messages import Link, Message
from loadgen.run.offered import journeys, offered
from loadgen.run.option import AbortOn
from loadgen.run.placement import Placement
from loadgen.run.record import RunFolder
from loadgen.run.target import Target
from loadgen.run.threads import run_in_thread
from loadgen.run.worker_info import WorkerInfo

#: Name of the phase in which the record and the report are made.
FINISHING: Final = "finishing"
#: File in the run folder with the traceback of a defect of the harness that ended the run.
DEFECT: Final = "defect.txt"
_FINISH_TIMEOUT_S = 60.0
_LOOK_S = 0.5


class Coordinator:
    """Conduct one run.

    :meth:`run` runs in a greenlet of its own. The code for messages, signals and displays calls the other methods.
    """

    def __init__(
        self,
        link: Link,
        run: ResolvedRun,
        tables: Tables,
        target: Target,
        place: Placement,
        workers: Sequence[WorkerInfo],
        prices: dict[str, Any],
        budget: Budget | None = None,
        abort_on: Collection[AbortOn] = (),
        live: bool = False,
        refused: Callable[[], dict[str, Any] | None] = lambda: None,
        clock: Clock | None = None,
        storage: Place | None = None,
    ) -> None:
        """Workers store their rows in ``storage``, or hand them over to the master if it is None.

        ``refused`` returns the manifest's `refused` (rejected connections and messages), or None."""
        self._link = link
        self._resolved = run
        self._target = target
        self._refused = refused
        self._clock = clock or Clock()
        self._begun_ns = self._clock.now_ns()
        token = secrets.randbits(31)
        told = target.describe()
        told["setup"] |= described(run, by_operation=target.protocol.rules.logins_by_operation)
        self.workers = Workers(run, workers)
        # `Doubts` raises an error if it refuses the run: create it before the run folder, so that no folder is left
        # behind.
        doubts = Doubts(run, self.workers, abort_on)
        self.folder = RunFolder.create(place, run.document, told, token, self._begun_ns, storage)
        if storage is not None:
            # The user has named this place, so the record and its report may be read from there.
            places.trust([storage])
        self.manifest = self.folder.manifest
        self.manifest.late_after_ns = run.phases.drain_ns or None
        self.manifest.offered, self.manifest.journeys = offered(run), journeys(run)
        if target.protocol.priced:
            self.manifest.prices = prices
        #: Failures and checks in the master's process; no worker's record contains them.
        self.account = Account()
        self._view = ProgressView(run.totals, self.workers, self._begun_ns)
        self._early_gates = EarlyGates.of(run)
        self._pauses = MasterPauses()
        self._phases = Phases(
            run,
            ClientRows(run, tables),
            link,
            self.workers,
            self._view,
            self._early_gates,
            self._pauses,
            budget,
            doubts,
            self._clock,
            self._on_phase,
            self.manifest.end_phase,
        )
        self._kills = KillWatch()
        #: State that live displays read, or None for a run without them.
        self.live = (
            LiveState(self.manifest.run, run, told, [info.worker for info in workers]) if live else None
        )
        self._inbox = Inbox(
            link,
            self._clock,
            self.workers,
            self._phases,
            self._view,
            self._early_gates,
            self.live,
            self.folder.spool,
        )
        #: Set when the record is complete, or could not be completed.
        self.done = Event()
        self.exit_code = ExitCode.PASSED
        #: The reason why the record could not be completed, or None.
        self.unwritten: str | None = None

    @property
    def phase(self) -> str:
        """The phase the run is in."""
        return self._view.phase

    # Other greenlets call the following methods while `run` conducts the run.

    def interrupt(self) -> None:
        """End the run early and keep what was recorded."""
        self._phases.interrupt()

    def end(self, error: RunError) -> None:
        """End the run early because of ``error``, and keep what was recorded."""
        self._phases.end(error)

    def worker_here(self, worker_id: str, here: bool) -> None:
        """Note whether a worker can be reached, as Locust's heartbeats show."""
        state = self.workers.get(worker_id)
        if state is not None and state.gone == here:
            state.gone = not here
            self._phases.changed.set()

    def worker_late(self, info: WorkerInfo) -> None:
        """Note in the manifest a worker that came too late, after the run had begun, and so takes no part in it."""
        self.manifest.late_workers.append(
            {
                "worker": info.worker,
                "id": info.worker_id,
                "hostname": info.hostname,
                "address": info.address,
                "pid": info.pid,
                "at_ns": self._clock.now_ns(),
                "phase": self.phase,
            }
        )

    def counts(self, worker_id: str) -> dict[str, int]:
        """Return the number of clients of each role that a worker plays."""
        return self.workers.counts(worker_id)

    def begin(self, worker_id: str) -> Begin:
        """Return the message with which a worker's part in the run begins."""
        state, parts = self.workers[worker_id], self.manifest.parts
        return Begin(
            run=self._resolved.for_worker(),
            target=self._target.to_payload(),
            token=self.manifest.token,
            folder=str(self.folder.path),
            worker=state.info.worker,
            sockets=state.share.sockets,
            websockets=state.share.websockets,
            workers=len(self.workers),
            echo_ns=echo.interval_ns(self._resolved, (each.info.boot_id for each in self.workers.values())),
            boot_id=boot_id(),
            live=self.live is not None,
            storage=None if parts is None else StoragePart(uri=parts["uri"], run=parts["run"]),
        )

    def receive(self, worker_id: str, message: Message) -> None:
        """Handle a message of a worker of this run.

        Raises:
            ValueError: the worker may not send this message now.
        """
        self._inbox.receive(worker_id, message)

    def snapshot(self) -> Snapshot:
        """Return the state for the progress line."""
        return self._view.snapshot(self._clock.now_ns())

    def view(self) -> View:
        """Return the state for live displays."""
        return self._view.view(self._clock.now_ns())

    # The following method conducts the run, in a greenlet.

    def run(self) -> None:
        """Go through the phases; whatever happens, complete the record and set :attr:`done`."""
        if not self.workers.in_master:
            self._pauses.start()
        try:
            self._phases.go()
            self._ended("complete", ExitCode.PASSED, None)
        except Interrupted:
            self._ended("interrupted", ExitCode.INTERRUPTED, f"interrupted in phase {self.phase}")
        except GateFailedError as error:
            self._ended("aborted", ExitCode.GATE_FAILED, str(error))
        except StoppedError as error:
            self._ended("stopped", ExitCode.INCONCLUSIVE, str(error))
        except RunError as error:
            self._ended("failed", error.code, str(error))
        except OSError as error:
            self._ended("failed", ExitCode.INCONCLUSIVE, f"the record cannot be written: {why(error)}")
        except Exception as error:
            reason = f"the harness failed: {message_of(error)} at {place_of(error)}; {DEFECT} has the details"
            self._ended("failed", ExitCode.INCONCLUSIVE, reason)
            self._keep_traceback(error)
        finally:
            self.manifest.end_phase(self._clock.now_ns())
            self._finish()

    def _ended(self, status: str, code: ExitCode, reason: str | None) -> None:
        self.manifest.status, self.exit_code = status, code
        if reason is not None:
            self.manifest.reason = reason

    def _keep_traceback(self, error: Exception) -> None:
        """Write the traceback of a defect of the harness to the run folder."""
        with suppress(OSError):
            files.replace(self.folder.path / DEFECT, "".join(format_exception(error)))

    def _on_phase(self, phase: str, at_ns: int) -> None:
        """Record that a phase has begun."""
        self.manifest.begin_phase(phase, at_ns)
        self.manifest.workers = self.workers.described()
        self.folder.save()

    # The following methods end the run.

    def _finish(self) -> None:
        # If the run was cut short while clients published, wait for the drain phase too. Otherwise events in flight
        # would count as lost.
        cut_short = self.phase in ("warmup", "measure")
        drain_ns = self._resolved.phases.drain_ns if cut_short else 0
        self._view.enter(FINISHING, None)
        self._link.to_agents(Finish(drain_ns=drain_ns))
        drained_ns = self._clock.now_ns() + drain_ns
        while self.workers.pending:
            # A large record takes long to transfer, so give up only if no piece of it has arrived for a while.
            progressed_ns = max(drained_ns, self._inbox.progressed_ns)
            if self._clock.now_ns() - progressed_ns > _FINISH_TIMEOUT_S * 1e9:
                break
            self._phases.changed.clear()
            self._clock.wait(self._phases.changed, _LOOK_S)
        self.manifest.workers = self.workers.described()
        self.manifest.oom_kills = self._kills.since()
        lost = self.workers.lost()
        if lost and self.exit_code == ExitCode.PASSED:
            self.manifest.status, self.exit_code = "failed", ExitCode.INCONCLUSIVE
            self.manifest.reason = "; ".join(state.how_lost() for state in lost)
        if lost and self.manifest.oom_kills:
            self.manifest.reason = f"{self.manifest.reason}; {killed_here(self.manifest.oom_kills)}"
        self.manifest.exit_code = int(self.exit_code)
        self.manifest.refused = self._refused()
        self.manifest.failures = self.account.failures.to_list()
        self.manifest.checks = self.account.checks.to_dict()
        self.manifest.pauses = self._pauses.stop()
        with suppress(OSError):
            # Save the manifest before the tables, since the disk may be too full for the tables.
            self.folder.save()
        try:
            run_in_thread(self.folder.complete)
        except RunError as error:
            self.exit_code, self.unwritten = error.code, str(error)
        else:
            # `complete` has set the manifest's exit code to inconclusive if rows are missing.
            self.exit_code = ExitCode(self.manifest.exit_code)
        finally:
            self.done.set()
