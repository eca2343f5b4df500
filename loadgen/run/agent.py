"""The agent: one worker process's part in a run. The classes that it combines are in `run/worker/`.

The coordinator conducts the run on the master (`run/coordinator.py`).
"""

import gc
from functools import partial

from gevent import Greenlet
from gevent.event import Event

from analysis.record.storage import Storage
from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.data.tables import Tables
from loadgen.live.plan import live_reports
from loadgen.measure.checks import Checks
from loadgen.measure.clock import boot_id
from loadgen.measure.failures import HARNESS, NETWORK, Failures
from loadgen.measure.recorder import Recorder
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter
from loadgen.protocol.base import Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import ClientPlan
from loadgen.run import worker_process
from loadgen.run.account import show_failure
from loadgen.run.early_gates import EarlyGates
from loadgen.run.echo import EchoLane
from loadgen.run.master_messages import Begin, Finish, Go, Grant, Pong, Ramp, Rows, SpoolWritten
from loadgen.run.messages import Link, Message
from loadgen.run.readiness import ProbedReadiness, SettledReadiness
from loadgen.run.shared_folder import spool_folder
from loadgen.run.spool_to import permitted
from loadgen.run.threads import native_lock, run_in_thread
from loadgen.run.worker.background import Background
from loadgen.run.worker.barriers import Barriers
from loadgen.run.worker.clock import Clock
from loadgen.run.worker.context import Context
from loadgen.run.worker.echoes import Echoes, NoEchoes
from loadgen.run.worker.ending import Ending
from loadgen.run.worker.flush import Flushes, Statistics
from loadgen.run.worker.last_word import LastWord
from loadgen.run.worker.logins import own_logins
from loadgen.run.worker.master_time import MasterTime
from loadgen.run.worker.spool import OwnSpool
from loadgen.run.worker.status import StatusReports, failed_status
from loadgen.run.worker.storing import Storing
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker.users import Users
from loadgen.run.worker_clock import WorkerClock
from loadgen.run.worker_info import LOCAL
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.users.worker import Progress, Readiness, Timeline


class Agent:
    """One worker process's part in one run: implements `WorkerRun` for its users and answers the coordinator.

    Created when the coordinator's BEGIN arrives. Raises RunError or SourceError if this worker cannot use the target.
    """

    def __init__(
        self,
        statistics: Statistics,
        link: Link,
        worker_id: str,
        begin: Begin,
        allowed: Allowed = NOTHING,
        login_from: str | None = "the master",
        tables: Tables | None = None,
        clock: Clock | None = None,
    ) -> None:
        """``allowed`` are the permissions on this process's command line.

        ``login_from`` names the source of the login, or is None if this is the command line of this process.
        ``tables`` are the run's data if this process has them; otherwise the master sends their rows in messages.
        """
        #: Failures in this worker that are not the service's fault; they make the run invalid.
        self.failures = Failures(show_failure)
        #: Results of the checks in the user's code.
        self.checks = Checks()
        self.progress = Progress()
        troubles = self._troubles = Troubles(begin.worker)
        context = self._context = Context.of(
            begin,
            allowed,
            login_from,
            tables,
            partial(self.failures.add, NETWORK, "connecting"),
            troubles.on_network,
        )
        self.service: Service = context.service
        self.logins = own_logins(
            begin, context, allowed, self.progress, troubles.report_error, troubles.on_network
        )
        self.stamping = context.clients.stamping
        self.rules: ProtocolRules = context.rules
        self.dialer: Dialer = context.dialer
        self.address: Address = context.address
        self.most_event_bytes = begin.run.event_bytes
        self.publishing_over = False
        clock = clock or Clock()

        place = None if begin.storage is None else permitted(begin.storage, allowed)
        folder, shared = spool_folder(begin.folder, begin.token, begin.worker)
        writer = SpoolWriter(folder, begin.worker)
        storing = None
        if begin.storage is not None and place is not None:
            storing = Storing(Storage(place), begin.storage.run, begin.worker, writer.files)
        self._spool = OwnSpool(writer, shared, link.to_coordinator, clock, troubles, storing)
        same_machine = begin.boot_id is not None and begin.boot_id == boot_id()
        estimate = WorkerClock(same_machine, worker_id == LOCAL, clock.read, clock.steady_ns)
        self._running = live_reports(begin.run, context.rules) if begin.live else None
        sinks = Sinks(
            statistics.add, self._running, EarlyGates.of(begin.run).watching, lambda: estimate.offset_ns
        )
        recorder = self.recorder = Recorder(begin.token, writer, run_in_thread, native_lock(), sinks)
        self._time = MasterTime(link, clock, estimate, recorder)
        self._barriers = Barriers(clock, self._time, begin.run.totals.ramp_ns)
        self._users = Users(link, clock, context.clients, context.rows.complete)
        readiness = self._readiness_of(begin)
        self.readiness: Readiness = readiness
        plan = context.echo_plan(begin)
        echoes: Echoes = NoEchoes() if plan is None else EchoLane(self, plan, begin.token, writer)
        background = Background()
        flushes = Flushes(clock, recorder, background.health, self._spool, echoes, statistics, troubles)
        status = StatusReports(
            link,
            clock,
            self._barriers,
            self.progress,
            recorder,
            flushes,
            readiness,
            echoes,
            troubles,
            self.failures,
        )
        self._ending = Ending(
            link=link,
            clock=clock,
            time=self._time,
            barriers=self._barriers,
            users=self._users,
            background=background,
            readiness=readiness,
            logins=self.logins,
            echoes=echoes,
            recorder=recorder,
            flushes=flushes,
            status=status,
            spool=self._spool,
            troubles=troubles,
            last_word=LastWord(
                context.service,
                recorder,
                self._spool,
                readiness,
                echoes,
                troubles,
                self.failures,
                self.checks,
            ),
            worker=begin.worker,
        )
        worker_process.set_up()
        background.start(
            partial(flushes.watch, lambda: self._barriers.finishing),
            status.watch,
            partial(self._time.watch, self._barriers.over),
        )
        echoes.start()

    def _readiness_of(self, begin: Begin) -> ProbedReadiness | SettledReadiness:
        settle_ns = begin.run.phases.settle_ns
        if settle_ns is not None:
            return SettledReadiness(settle_ns)
        return ProbedReadiness(
            self.service,
            begin.token,
            begin.worker,
            lambda: self._barriers.ramp_over,
            self.report_error,
            partial(self.failures.add, HARNESS, "a readiness probe"),
            self.dialer,
            self.stamping,
            begin.run,
        )

    # Users call the following methods: see `users.worker.WorkerRun`.

    @property
    def stopping(self) -> bool:
        """True once this worker's drain has ended: clients then close their connections."""
        return bool(self._barriers.over.is_set())

    def claim(self, role: str) -> ClientPlan | None:
        """Claim the next free client of ``role`` for a user and return its plan, or None if none is left.

        Waits for the master's answer.
        """
        return self._users.claim(role)

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait until it is the client's turn to connect; return False if the run ended first."""
        return self._barriers.wait_for_ramp(client)

    def wait_until(self, due_ns: int) -> None:
        """Block until the master's clock shows ``due_ns``; return at once if that time is past."""
        self._time.wait_until(due_ns)

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""
        return self._time.local_ns(master_ns)

    def master_ns(self, local_ns: int) -> int:
        """Return what the master's clock shows when this process's shows ``local_ns``."""
        return self._time.master_ns(local_ns)

    def publish_channel(self, channel: str) -> str:
        """Return a channel in the protocol's normal form; raises ValueError if nothing can be published to it."""
        rules = self._context.rules
        normal = rules.normalise(channel)
        rules.validate_publish(normal)
        return normal

    def joined(self) -> None:
        """Count a user that has begun to play its client."""
        self._users.joined()

    def left(self) -> None:
        """Stop counting a user that has closed its connections and recorded everything."""
        self._users.left()

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready and return the phases' times, or None if the run ended first."""
        return self._barriers.wait_for_timeline()

    def wait_for_end(self) -> None:
        """Wait until the run is over."""
        self._barriers.over.wait()

    def start_at_end(self, greenlet: Greenlet) -> None:
        """Start a greenlet once the run is over."""
        self._barriers.start_at_end(greenlet)

    def report_error(self, reason: str, fatal: bool) -> None:
        """Count a client's failure by its reason; a ``fatal`` reason ends the run before the measurement."""
        self._troubles.report_error(reason, fatal)

    # `WorkerSide` calls the following methods for the master's messages, and to end this worker's part.

    @property
    def finished(self) -> Event:
        """Set when the worker's spool, its rows on disk, is complete and, if necessary, transferred."""
        return self._ending.finished

    def receive(self, message: Message) -> None:
        """Handle a message of the master."""
        match message:
            case Grant():
                self._users.on_grant(message)
            case Rows():
                try:
                    self._context.rows.take(message)
                except (ValueError, OSError) as error:
                    self._troubles.on_broken(f"cannot keep the rows of data: {error}")
            case Ramp():
                self._barriers.begin_ramp(message.ramp_ns)
            case Go():
                self._go(message)
            case Finish():
                self._finish(message.drain_ns)
            case SpoolWritten():
                self._spool.on_answer(message)
            case Pong():
                self._time.on_pong(message)

    def _go(self, go: Go) -> None:
        # Every client exists by now and lives until the end, so the garbage collector need not scan them again.
        gc.freeze()
        if self._running is not None:
            self._running.measure_from(go.measure_ns)
        self._barriers.open(Timeline(go.warmup_ns, go.measure_ns, go.measure_end_ns, go.drain_end_ns))

    def _finish(self, drain_ns: int) -> None:
        self.publishing_over = True
        self._ending.begin(drain_ns)

    def leave(self, why: str, patience_s: float) -> None:
        """End this worker's part early; return once its record is handed over, or after ``patience_s`` + 30 seconds.

        ``why`` goes into the manifest. A master that is silent for ``patience_s`` seconds counts as gone.
        """
        self.publishing_over = True
        self._ending.leave(why, patience_s)

    def abandon(self) -> None:
        """Write what was recorded so far: the master's process is gone and this one is about to end."""
        self._ending.abandon()


__all__ = ["Agent", "failed_status"]
