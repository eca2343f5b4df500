"""The agent: one worker process's part in a run."""

import gc
import secrets
from collections import Counter
from dataclasses import asdict
from functools import partial
from typing import Any

import gevent
import msgspec
from gevent.event import AsyncResult, Event
from gevent.lock import Semaphore
from locust.env import Environment

from loadgen.console import say
from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.exits import ExitCode, RunError, why
from loadgen.live.plan import live_reports
from loadgen.measure import clockbound
from loadgen.measure.checks import Checks
from loadgen.measure.clock import boot_id, now_ns, read_both
from loadgen.measure.failures import HARNESS, NETWORK, Failures
from loadgen.measure.health import HealthSampler
from loadgen.measure.live import Report
from loadgen.measure.pauses import PauseWatch
from loadgen.measure.recorder import Interval, Recorder
from loadgen.measure.rows import ClockRow
from loadgen.measure.spool import SpoolWriter
from loadgen.protocol.base import Service
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve import ClientPlan, Clients, ResolvedRun
from loadgen.run import locust_stats, messages, worker_process
from loadgen.run import spool_transfer as gather
from loadgen.run.account import show_failure
from loadgen.run.echo import EchoLane, plan_echo
from loadgen.run.live_gates import LiveGates
from loadgen.run.messages import Link, Payload
from loadgen.run.periodic import FLUSH_INTERVAL_S, every, wait_for_status
from loadgen.run.readiness import ProbedReadiness, SettledReadiness
from loadgen.run.shared_folder import spool_folder
from loadgen.run.target import Target
from loadgen.run.threads import native_lock, native_sleep, run_in_thread, start_native_thread
from loadgen.run.worker_clock import WorkerClock
from loadgen.run.worker_messages import MOST_REPORTS, clipped, clipped_counts
from loadgen.transport import proxy
from loadgen.transport.address import Address
from loadgen.transport.dialing import Dialer
from loadgen.transport.errors import TransportError
from loadgen.transport.poller import is_native
from loadgen.transport.timer import PreciseTimer
from loadgen.users.worker import Progress, Readiness, Timeline

_CLAIM_WINDOW_S = 0.005
_PING_INTERVAL_S = 0.25
_FIRST_PINGS_S = 0.02
_CLOCK_TIMEOUT_S = 10.0
#: How far ahead the offset to the master's clock is extrapolated; longer waits recompute it on the way.
_CLOCK_FRESH_NS = 200_000_000
#: If the last pieces of a spool stay unanswered for this long, the master counts as gone.
_HAND_OVER_PATIENCE_S = 30.0
_MOST_COMPLAINTS = 20
_MOST_NETWORK_NOTES = 50


class Agent:
    """One worker process's part in one run: implements `WorkerRun` for its users and answers the coordinator.

    Created when the coordinator's BEGIN arrives. Raises RunError if the target cannot be used from here.
    """

    def __init__(
        self,
        environment: Environment,
        link: Link,
        worker: int,
        worker_id: str,
        begin: Payload,
        allowed: Allowed = NOTHING,
        login_from: str | None = "the master",
    ) -> None:
        self.worker = worker
        self.worker_id = worker_id
        self._environment = environment
        self._link = link
        target = Target.from_payload(begin["target"], allowed, login_from)
        run = self._resolved = msgspec.convert(begin["run"], ResolvedRun)
        self._clients = Clients(run)
        self.stamping = self._clients.stamping
        rules = target.protocol.rules
        self.service: Service = target.service()
        if self.stamping.beside:
            self.service.carry_stamps(run.stamps.place.name)
        #: Notes about this worker's connects that users should know, counted.
        self._network: Counter[str] = Counter()
        self.dialer = Dialer(
            allow_remote=target.allow_remote,
            offset=worker,
            on_failed=lambda error: self.failures.add(NETWORK, "connecting", error),
            on_note=self._on_network,
        )
        self.address = _address(self.service, self.dialer)
        self.timer = PreciseTimer()
        self.progress = Progress()
        #: Failures here that are not the service's fault; they make the run invalid.
        self.failures = Failures(show_failure)
        #: Results of the checks in the user's code.
        self.checks = Checks()
        self.most_event_bytes = run.event_bytes
        self._folder, self._shared = spool_folder(begin["folder"], begin["token"], worker)
        self._spool = SpoolWriter(self._folder, worker)
        self._sender = (
            None
            if self._shared
            else gather.SpoolSender(
                self._spool.files, lambda piece: link.to_coordinator(messages.SPOOL, piece)
            )
        )
        self._patience_s = _HAND_OVER_PATIENCE_S
        #: Why this worker left before the end of the run, or None.
        self._left: str | None = None
        self.recorder = Recorder(begin["token"], self._spool, run_in_thread, native_lock())
        self._tally = locust_stats.DeliveryTally(environment.stats, run)
        self.recorder.tally = self._tally.add
        self.recorder.tells_shortest = LiveGates.of(run).watching
        if begin["live"]:
            self.recorder.live = live_reports(run, rules)
        self._pauses = PauseWatch(native_sleep)
        self._health = HealthSampler(gevent.sleep, self._pauses)
        self._clock = WorkerClock(
            begin["boot_id"] is not None and begin["boot_id"] == boot_id(), worker_id == "local"
        )
        self._claims: list[tuple[str, AsyncResult]] = []
        self._asked: dict[int, list[tuple[str, AsyncResult]]] = {}
        self._living = 0
        #: Set when the ramp's start is known, or when the run ends without one.
        self._ramping = Event()
        self._ramp_ns = 0
        self._timeline: AsyncResult = AsyncResult()
        self._over = Event()
        self._finishing = False
        #: Set when the spool is complete and, if necessary, transferred.
        self.finished = Event()
        self.publishing_over = False
        self._complaints: Counter[str] = Counter()
        self._fatal: str | None = None
        self._broken: str | None = None
        self._latest: Interval | None = None
        self._histogram: str | None = None
        self._shortest: str | None = None
        #: Reports for live displays, not sent yet.
        self._reports: list[Report] = []
        self._flushing = Semaphore()
        settle_ns = run.phases.settle_ns
        self._readiness: ProbedReadiness | SettledReadiness = (
            SettledReadiness(settle_ns)
            if settle_ns is not None
            else ProbedReadiness(
                self.service,
                begin["token"],
                worker,
                self._ramp_over,
                self.report_error,
                partial(self.failures.add, HARNESS, "a readiness probe"),
                self.dialer,
                self.stamping,
                run,
            )
        )
        self.readiness: Readiness = self._readiness
        self._echo = self._echo_lane(begin, rules)
        worker_process.set_up()
        start_native_thread(self._pauses.watch)
        start_native_thread(partial(self._health.surroundings.allowances.watch, native_sleep))
        self._loops = [
            gevent.spawn(loop) for loop in (self._health.watch, self._flush_loop, self._status_loop)
        ]
        if not self._clock.ready.is_set():
            self._loops.append(gevent.spawn(self._ping_loop))

        if self._echo is not None:
            self._echo.start()

    # Called by users: see users.worker.WorkerRun.

    @property
    def stopping(self) -> bool:
        """True once this worker's drain has ended: clients close their connections."""
        return bool(self._over.is_set())

    def claim(self, role: str) -> ClientPlan | None:
        """Wait for and return the plan of the next unclaimed client of ``role``, or None if none is left."""
        granted: AsyncResult = AsyncResult()
        if not self._claims:
            # Users are spawned by the thousand: one message carries all claims of the next few milliseconds.
            gevent.spawn_later(_CLAIM_WINDOW_S, self._send_claims)
        self._claims.append((role, granted))
        number = granted.get()
        return None if number is None else self._clients.client(number)

    def wait_for_ramp(self, client: ClientPlan) -> bool:
        """Wait until it is the client's turn to connect; return False if the run ended before."""
        self._ramping.wait()
        # The ramp is scheduled on the master's clock: wait for an estimate of the offset to it.
        self._clock.ready.wait(_CLOCK_TIMEOUT_S)
        if self._ramp_ns:
            self.wait_until(self._ramp_ns + client.ramp_offset_ns)
        return bool(self._ramp_ns) and not self.stopping

    def wait_until(self, due_ns: int) -> None:
        """Block until the master's clock shows ``due_ns``; return at once if that time is past."""
        clock = self._clock
        if not clock.apart:
            self.timer.wait_until(clock.local_ns(due_ns))
            return
        # The clocks drift apart during the wait: recompute the offset from the latest pings.
        while (left_ns := clock.local_ns(due_ns) - now_ns()) > 0:
            soon = left_ns <= _CLOCK_FRESH_NS
            self.timer.wait_until(now_ns() + (left_ns if soon else left_ns - _CLOCK_FRESH_NS // 2))

    def local_ns(self, master_ns: int) -> int:
        """Return what this process's clock shows when the master's shows ``master_ns``."""
        return self._clock.local_ns(master_ns)

    def joined(self) -> None:
        """Count a user that has begun to play its role."""
        self._living += 1

    def left(self) -> None:
        """Stop counting a user that has closed its connections and recorded everything."""
        self._living -= 1

    def wait_for_timeline(self) -> Timeline | None:
        """Wait until all subscribers are ready and return the timeline, or None if the run ended before."""
        timeline: Timeline | None = self._timeline.get()
        return timeline

    def wait_for_end(self) -> None:
        """Wait until the run is over."""
        self._over.wait()

    def report_error(self, reason: str, fatal: bool) -> None:
        """Count why a client failed; a ``fatal`` reason ends the run before the measurement."""
        if reason in self._complaints or len(self._complaints) < _MOST_COMPLAINTS:
            self._complaints[reason] += 1
        if fatal and self._fatal is None:
            self._fatal = reason

    def _on_network(self, sentence: str) -> None:
        """Count a note of the dialer; print it the first time."""
        if sentence not in self._network:
            if len(self._network) >= _MOST_NETWORK_NOTES:
                return
            say(f"worker {self.worker}: {sentence}")
        self._network[sentence] += 1

    # Called for messages of the coordinator.

    def on_grant(self, payload: Payload) -> None:
        """Handle GRANT: give claimed clients to the users that wait for them."""
        granted: dict[str, list[int]] = {role: list(numbers) for role, numbers in payload["granted"].items()}
        for role, waiting in self._asked.pop(payload["request"], ()):
            numbers = granted.get(role)
            waiting.set(numbers.pop(0) if numbers else None)

    def on_ramp(self, payload: Payload) -> None:
        """Handle RAMP: let users connect, each at its own time."""
        self._ramp_ns = payload["ramp_ns"]
        self._ramping.set()

    def on_go(self, payload: Payload) -> None:
        """Handle GO: pass the timeline to the users; publishers start on it by themselves."""
        # All clients exist by now and live to the end: the garbage collector need not scan them again.
        gc.freeze()
        timeline = Timeline(**payload)
        if self.recorder.live is not None:
            self.recorder.live.measure_ns = timeline.measure_ns
        self._timeline.set(timeline)

    def on_finish(self, payload: Payload) -> None:
        """Handle FINISH: stop publishing, drain for ``drain_ns``, close connections, and hand over the record."""
        if self._finishing:
            return
        self._finishing = True
        self.publishing_over = True
        if not self._timeline.ready():
            self._timeline.set(None)
        for _, waiting in self._claims:
            waiting.set(None)
        self._ramping.set()
        gevent.spawn(self._finish, payload["drain_ns"])

    def on_spool_written(self, payload: Payload) -> None:
        """Handle SPOOL_WRITTEN: the master acknowledges the bytes of a spool file that it has written."""
        if self._sender is not None:
            self._sender.on_answer(payload)
            self._send_spool()

    def leave(self, why: str, patience_s: float) -> None:
        """End this worker's part early and return when its record is handed over, or when patience runs out.

        ``why`` goes into the manifest. The master counts as gone if it is silent for ``patience_s`` seconds.
        """
        self._left, self._patience_s = why, patience_s
        self.on_finish({"drain_ns": 0})
        self.finished.wait(patience_s + _HAND_OVER_PATIENCE_S)

    def abandon(self) -> None:
        """Write what was recorded so far: the master's process is gone and this one is about to end."""
        self._finishing = True
        self._flush()
        self._spool.close()

    def on_pong(self, payload: Payload) -> None:
        """Handle PONG: add the answered ping to the estimate of the master's clock."""
        here = read_both()
        # The clock daemon may have updated its bound since the ping left: the wider one covers the time between.
        bound_ns = clockbound.wider(payload["bound_ns"], clockbound.error_ns())
        known = {"received_ns": here.real_ns, "received_raw_ns": here.raw_ns, "bound_ns": bound_ns}
        row = ClockRow(**{**payload, **known})
        self._clock.add(row)
        self.recorder.clock(row)
        self.recorder.clock_offset_ns = self._clock.offset_ns

    # Internals.

    def _echo_lane(self, begin: Payload, rules: ProtocolRules) -> EchoLane | None:
        if begin["echo_ns"] is None:
            return None
        token, workers = begin["token"], begin["workers"]
        plan = plan_echo(self._resolved, self._clients, rules, begin["echo_ns"], token, self.worker, workers)
        return EchoLane(self, plan, token, self._spool)

    def _ping_loop(self) -> None:
        """Ping the master for its time: in quick succession at first, then throughout the run."""
        while not self._over.is_set():
            self._ping()
            gevent.sleep(_PING_INTERVAL_S if self._clock.ready.is_set() else _FIRST_PINGS_S)

    def _ping(self) -> None:
        bound_ns = clockbound.error_ns()
        here = read_both()
        self._link.to_coordinator(
            messages.PING,
            {
                "bound_ns": bound_ns,
                "sent_ns": here.real_ns,
                "sent_raw_ns": here.raw_ns,
            },
        )

    def _send_claims(self) -> None:
        claims, self._claims = self._claims, []
        request = secrets.randbits(31)
        self._asked[request] = claims
        wanted = Counter(role for role, _ in claims)
        self._link.to_coordinator(messages.CLAIM, {"request": request, "wanted": dict(wanted)})

    def _ramp_over(self) -> bool:
        return self._ramp_ns > 0 and now_ns() >= self._clock.local_ns(
            self._ramp_ns + self._resolved.totals.ramp_ns
        )

    def _flush_loop(self) -> None:
        for _ in every(FLUSH_INTERVAL_S):
            if self._finishing:
                return
            self._flush()
            self._send_spool()

    def _flush(self) -> None:
        try:
            # One at a time: the last flush must not overlap a periodic one that is still writing.
            with self._flushing:
                if self._echo is not None:
                    self.recorder.echoes(self._echo.take())
                self._latest = self.recorder.flush(self._health)
        except OSError as error:
            self._broken = self._broken or f"worker {self.worker} cannot write its record: {why(error)}"
            return
        if self._latest.deliveries:
            self._histogram = self._latest.delivery_histogram
            self._shortest = self._latest.shortest_histogram
        groups = self._tally.show(self._latest.end_ns)
        if self._latest.live is not None:
            self._reports.append({**self._latest.live, "groups": groups})
        if self._latest.events:
            latest = self._latest
            locust_stats.add_publishes(
                self._environment.stats, latest.events, latest.answered_ns, latest.end_ns
            )

    def _send_spool(self) -> None:
        """Send new spool data if the master does not share the spool folder."""
        if self._sender is None:
            return
        try:
            self._sender.pump()
        except OSError as error:
            self._broken = self._broken or f"worker {self.worker} cannot read its record: {why(error)}"

    def _status_loop(self) -> None:
        while True:
            self._send_status()
            if self._finishing:
                return
            wait_for_status(self._counts, lambda: not self._timeline.ready())

    def _counts(self) -> dict[str, int]:
        return asdict(self.progress)

    def _send_status(self) -> None:
        histogram, self._histogram = self._histogram, None
        reports, self._reports = self._reports[:MOST_REPORTS], self._reports[MOST_REPORTS:]
        self._link.to_coordinator(
            messages.STATUS,
            _status(
                progress={
                    **self._counts(),
                    "probes": self._readiness.probes,
                    "probe_deliveries": self.recorder.probe_deliveries,
                    "echoes": 0 if self._echo is None else self._echo.sent,
                    "echo_deliveries": 0 if self._echo is None else self._echo.returned,
                },
                deliveries=self.recorder.deliveries,
                complaints=clipped_counts(self._complaints),
                fatal=clipped(self._fatal),
                broken=clipped(self._broken),
                histogram=histogram,
                shortest=self._shortest if histogram else None,
                live=reports,
            ),
        )

    def _finish(self, drain_ns: int) -> None:
        gevent.sleep(drain_ns / 1e9)
        if self._clock.apart:
            # Bounds the clock offset up to the last arrival; the answer comes while connections close.
            self._ping()
        self._over.set()
        deadline = gevent.Timeout(10)
        deadline.start()
        try:
            while self._living:
                gevent.sleep(0.02)
        except gevent.Timeout:
            self.report_error(f"worker {self.worker}: some connections did not close in time", fatal=False)
        finally:
            deadline.cancel()
        self._health.running = self._pauses.running = False
        self._readiness.stop()
        if self._echo is not None:
            self.recorder.echoes(self._echo.stop())
        self._flush()
        gevent.killall(self._loops, block=True)
        self._health.surroundings.close()
        self._send_status()
        self._spool.close()
        if self._sender is not None:
            self._hand_over(self._sender)
        self.timer.close()
        self._link.to_coordinator(
            messages.FINISHED,
            {
                "receive_path": "native" if is_native() else "python",
                "deliveries": self.recorder.deliveries,
                "events": self.recorder.events,
                "foreign": self.recorder.foreign,
                "undecodable": self.recorder.undecodable.count,
                "undecodable_kinds": self.recorder.undecodable.to_list(),
                "unknown_subscription": self.recorder.unknown_subscription,
                "probes": self._readiness.probes,
                "probe_deliveries": self.recorder.probe_deliveries,
                "echo": None if self._echo is None else self._echo.to_dict(),
                "deviations": clipped_counts(self.recorder.deviations),
                "network": clipped_counts(self._network),
                "proxies": proxy.routes(self.service.connect_url, self.service.http_url),
                "failures": self.failures.to_list(),
                "checks": self.checks.to_dict(),
                "gathered_by": "shared folder" if self._sender is None else "messages",
                "rows": dict(self._spool.rows),
                "spool_bytes": sum(path.stat().st_size for path in self._spool.files()),
                "files": None if self._sender is None else self._sender.totals(),
                "left": self._left,
            },
        )
        if self._sender is not None and not self._sender.pending():
            gather.remove(self._spool.files())
        self.finished.set()

    def _hand_over(self, sender: gather.SpoolSender) -> None:
        """Send the rest of the spool and wait until the master has acknowledged all of it."""
        self._send_spool()
        while sender.pending() and sender.silent_s < self._patience_s and self._broken is None:
            gevent.sleep(0.02)
            self._send_spool()
        if sender.pending():
            say(
                f"the master did not take all of the record of worker {self.worker}:"
                f" {sender.pending():,} bytes are only here, in {self._folder}"
            )


def _address(service: Service, dialer: Dialer) -> Address:
    """Return the service's address; raises RunError if it cannot be used."""
    try:
        return Address(service.connect_url, service.tls, dialer)
    except TransportError as error:
        raise RunError(str(error), ExitCode.USAGE) from None


def failed_status(reason: str, code: int) -> Payload:
    """Return the STATUS payload of an agent that could not be created; ``code`` is the exit code."""
    return _status(broken=clipped(reason), broken_code=code, absent=True)


def _status(**known: Any) -> Payload:
    """Return a STATUS payload; fields that are not given are those of an agent that has just begun."""
    begun = {
        "progress": asdict(Progress()),
        "deliveries": 0,
        "complaints": {},
        "fatal": None,
        "broken": None,
        "broken_code": int(ExitCode.INCONCLUSIVE),
        "absent": False,
        "histogram": None,
        "shortest": None,
        "live": [],
    }
    return {**begun, **known}
