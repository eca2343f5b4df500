"""Handle the workers' messages: counts, requests for clients, pings, pieces of the record, and the last message."""

from pathlib import Path

from loadgen.console import say
from loadgen.exits import why
from loadgen.live.state import LiveState
from loadgen.measure import clockbound, histograms
from loadgen.measure.clock import now_ns, read_both
from loadgen.run.early_gates import EarlyGates
from loadgen.run.master.phases import Clock, Phases
from loadgen.run.master.progress import ProgressView
from loadgen.run.master.workers import Workers
from loadgen.run.master_messages import Pong
from loadgen.run.messages import Link, Message
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.worker_messages import Claim, Finished, Piece, Ping, Status, Stored, own_files


class Inbox:
    """Handles the messages of a run's workers; ``spool`` is the folder for the record rows that they send."""

    def __init__(
        self,
        link: Link,
        clock: Clock,
        workers: Workers,
        phases: Phases,
        view: ProgressView,
        early_gates: EarlyGates,
        live: LiveState | None,
        spool: Path,
    ) -> None:
        self._link = link
        self._clock = clock
        self._workers = workers
        self._phases = phases
        self._view = view
        self._early_gates = early_gates
        self._live = live
        self._receiver = SpoolReceiver(spool)
        self._begun_ns = clock.now_ns()
        #: Time (wall clock, ns) at which the last piece of a worker's record arrived, or 0 if none has.
        self.progressed_ns = 0

    def receive(self, worker_id: str, message: Message) -> None:
        """Handle a message of one worker.

        Raises:
            ValueError: the worker may not send this message now.
        """
        match message:
            case Ping():
                self._on_ping(worker_id, message)
            case Claim():
                self._phases.grant(worker_id, message)
            case Status():
                self._on_status(worker_id, message)
            case Piece():
                self._on_piece(worker_id, message)
            case Stored():
                self._on_stored()
            case Finished():
                self._on_finished(worker_id, message)

    def _on_ping(self, worker_id: str, ping: Ping) -> None:
        """Answer a ping with the time of this process's clock."""
        received_ns, here = now_ns(), read_both()
        pong = Pong(
            sent_ns=ping.sent_ns,
            bound_ns=ping.bound_ns,
            master_bound_ns=clockbound.error_ns(),
            sent_raw_ns=ping.sent_raw_ns,
            master_received_ns=received_ns,
            master_sent_ns=here.real_ns,
            master_raw_ns=here.raw_ns,
        )
        self._link.to_agents(pong, worker_id)

    def _on_status(self, worker_id: str, status: Status) -> None:
        """Store a worker's counts; raises ValueError if the worker reports on more seconds than have passed."""
        at_ns, state = self._clock.now_ns(), self._workers[worker_id]
        state.take(status, at_ns - self._begun_ns)
        self._phases.changed.set()
        if status.histogram:
            histogram = histograms.decoded(status.histogram)
            self._view.observe(at_ns, histogram)
            self._early_gates.observe(at_ns, histogram, status.shortest)
        if self._live is not None:
            for report in status.live:
                self._live.observe(state.info.worker, report.plain(), at_ns)

    def _on_piece(self, worker_id: str, piece: Piece) -> None:
        """Write a piece of a spool file of a worker that has no access to the run folder.

        Raises:
            ValueError: the file does not belong to this worker's spool.
        """
        state = self._workers[worker_id]
        self.progressed_ns = self._clock.now_ns()
        try:
            answer = self._receiver.take(state.info.worker, piece)
        except OSError as error:
            state.broken = state.broken or (
                f"the master cannot write the record of {state.info.name}: {why(error)}"
            )
            self._phases.changed.set()
            return
        self._link.to_agents(answer, worker_id)

    def _on_stored(self) -> None:
        """Note that a worker is still storing its record."""
        self.progressed_ns = self._clock.now_ns()

    def _on_finished(self, worker_id: str, finished: Finished) -> None:
        """Note that a worker has handed over its record.

        Raises:
            ValueError: the worker has already handed over its record, or names another worker's files.
        """
        state = self._workers[worker_id]
        if state.finished is not None:
            raise ValueError("it has handed over its record already")
        state.missing_bytes = self._receiver.missing(state.info.worker, finished.files or {})
        if foreign := sorted((finished.stored or {}).keys() - own_files(state.info.worker)):
            raise ValueError(f"it names {foreign[0]!a}, which is not a file of its spool")
        if finished.unstored is not None:
            say(f"{state.info.name}: {finished.unstored}")
        state.finished, state.left = finished, finished.left
        self._phases.changed.set()
