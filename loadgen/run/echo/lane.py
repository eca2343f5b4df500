"""Play a worker's echo lane: connect, subscribe, publish, and match the events that come back (the echoes).

The lane has connections and a channel of its own; see `loadgen.run.echo`.
"""

from collections import Counter
from functools import partial
from itertools import count
from typing import Any, Final, cast

import gevent
from gevent.event import Event

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.measure.rows import EchoRow
from loadgen.measure.spool import SpoolWriter
from loadgen.measure.stamp import encode_event
from loadgen.payloads.stamping import Event as AnyEvent
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.run.echo.plan import EchoPlan
from loadgen.run.echo.recording import EchoRecorder, EchoRun
from loadgen.transport.errors import HandshakeRefusedError, TransportError
from loadgen.transport.http import GeventHttpClient
from loadgen.users.connection import ClientConnection
from loadgen.users.senders import ConnectionSender, HttpSender, Sender
from loadgen.users.worker import Timeline, WorkerRun

#: Publisher number of the echoes of worker 0; those of worker n have this number minus n. Readiness probes of worker n
#: have the publisher number -1 - n.
ECHO_PUBLISHER: Final = -1_000_000
#: Number by which the lane's buffer of arrivals names the echo subscription; the scenario's subscriptions count from 0.
_SUBSCRIPTION: Final = -1
_CONNECT_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 1.0
_RETRY_S = 1.0
_POLL_S = 0.02
_HTTP_CONNECTIONS = 8
#: Maximum number of distinct reasons for failed publishes that are kept.
_MOST_ERRORS = 10


class EchoLane:
    """One worker's lane: :meth:`start` it, :meth:`take` finished echoes, :meth:`stop` it before the record closes."""

    def __init__(self, run: WorkerRun, plan: EchoPlan, token: int, spool: SpoolWriter) -> None:
        self._run = run
        self._plan = plan
        self._token = token
        self._publisher = ECHO_PUBLISHER - spool.worker
        self._recorder = EchoRecorder(token, spool)
        self._shown = cast(WorkerRun, EchoRun(run, self._recorder, self._complain))
        #: The reason why the lane sends no echoes or has stopped, or None if it works.
        self.note: str | None = plan.refusal
        self._refused = plan.refusal is not None
        self._errors: Counter[str] = Counter()
        self._receiver: ClientConnection | None = None
        self._publishing: ClientConnection | None = None
        self._sender: Sender | None = None
        #: Echoes that were sent and have not come back, by sequence number.
        self._open: dict[int, EchoRow] = {}
        self._sent = self._returned = self._elsewhere = 0
        self._stopping = False
        self._serving: gevent.Greenlet | None = None
        self._returning: list[gevent.Greenlet] = []
        #: Set when the lane has closed its connections.
        self.over = Event()

    @property
    def sent(self) -> int:
        """Number of echoes published."""
        return self._sent

    @property
    def returned(self) -> int:
        """Number of echoes that came back."""
        return self._returned

    def start(self) -> None:
        """Connect and publish in a greenlet; do nothing if the plan allows this worker no echoes."""
        if self._refused:
            self.over.set()
        else:
            self._serving = gevent.spawn(self._serve)

    def take(self) -> list[EchoRow]:
        """Return the echoes that have come back since the last call."""
        rows = []
        for publisher, sequence, arrival_ns, read_ns in self._recorder.arrived():
            sent = self._open.pop(sequence, None) if publisher == self._publisher else None
            if sent is None:
                # Skip a duplicate, or an event of another publisher.
                self._elsewhere += 1
                continue
            self._returned += 1
            rows.append(sent._replace(arrival_ns=arrival_ns, read_ns=read_ns))
        return rows

    def stop(self) -> list[EchoRow]:
        """Close the connections and return the last echoes, including those that never came back."""
        self._stopping = True
        if self._serving is not None:
            self.over.wait(2 * _CLOSE_TIMEOUT_S + 0.5)
            gevent.killall([self._serving, *self._returning], block=False)
        rows = self.take()
        rows += [self._open[sequence] for sequence in sorted(self._open)]
        self._open.clear()
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest's `workers[].echo`."""
        progress = self._shown.progress
        return {
            "channel": self._plan.channel,
            "via": "http" if self._plan.over_http else "websocket",
            "interval_ns": self._plan.interval_ns,
            "payload_bytes": self._plan.payload_bytes,
            "sent": self._sent,
            "returned": self._returned,
            "unexpected": self._elsewhere,
            "connects": progress.opened,
            "subscribes": progress.requested,
            "lost_connections": progress.lost_connections,
            "errors": dict(self._errors),
            "note": self.note,
        }

    # The following methods are private.

    def _serve(self) -> None:
        try:
            if self._open_all():
                timeline = self._run.wait_for_timeline()
                if timeline is not None and not self._stopping:
                    self._publish_all(timeline)
                    self._await_the_last()
        except Exception as error:
            # This is a defect of the harness, but the scenario's figures do not depend on echoes, so the run goes on.
            self.note = f"the lane failed: {type(error).__name__}: {error}"
        finally:
            self._close()
            self.over.set()

    @property
    def _over(self) -> bool:
        return self._stopping or self._refused or self._run.stopping

    def _complain(self, reason: str, fatal: bool) -> None:
        """Count a failure of one of the lane's connections by its reason; a ``fatal`` reason ends the lane."""
        self._count(reason)
        if fatal:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self._refused, self.note = True, f"the service refused: {reason}"

    def _count(self, reason: str) -> None:
        if reason in self._errors or len(self._errors) < _MOST_ERRORS:
            self._errors[reason] += 1

    def _open_all(self) -> bool:
        """Connect and subscribe; return False if the lane cannot run."""
        plan, run = self._plan, self._run
        subscription = SubscriptionPlan(_SUBSCRIPTION, plan.channel)
        self._receiver = self._connection((subscription,))
        connected = self._connect(self._receiver)
        if connected and plan.over_http:
            assert run.service.http_url is not None
            client = GeventHttpClient(
                run.service.http_url,
                _HTTP_CONNECTIONS,
                on_failed=partial(self._shown.failures.add, HARNESS, "publishing an echo over HTTP"),
                dialer=run.dialer,
            )
            self._sender = HttpSender(run.service, client, self._recorder.undecodable)
        elif connected:
            # Use a separate connection: some services do not deliver events to the connection that published them.
            self._publishing = self._connection(())
            connected = self._connect(self._publishing)
            self._sender = ConnectionSender(self._publishing)
        return connected and self._await_acknowledgement()

    def _connection(self, subscriptions: tuple[SubscriptionPlan, ...]) -> ClientConnection:
        client = ClientPlan(
            number=self._publisher,
            group="echo",
            index=0,
            subscriptions=subscriptions,
            publish=None,
            ramp_offset_ns=0,
        )
        return ClientConnection(self._shown, client, on_ended=self._come_back)

    def _come_back(self, connection: ClientConnection) -> None:
        if not self._over:
            self._returning.append(gevent.spawn_later(_RETRY_S, self._connect, connection))

    def _connect(self, connection: ClientConnection) -> bool:
        """Connect, with retries; return False if the service refuses the connection or the lane is over."""
        while not self._over:
            try:
                connection.open(_CONNECT_TIMEOUT_S)
            except HandshakeRefusedError as error:
                self._refuse(str(error))
            except TransportError as error:
                self._count(str(error))
                gevent.sleep(_RETRY_S)
            else:
                return True
        return False

    def _await_acknowledgement(self) -> bool:
        deadline_ns = now_ns() + int(_CONNECT_TIMEOUT_S * 1e9)
        while not self._over:
            if self._shown.progress.ready:
                return True
            if now_ns() > deadline_ns:
                self.note = f"the subscription to {self._plan.channel} was not acknowledged"
                return False
            gevent.sleep(_POLL_S)
        return False

    def _publish_all(self, timeline: Timeline) -> None:
        """Publish on schedule from the start of the warm-up to the end of the measure phase."""
        run, plan = self._run, self._plan
        for number in count():
            intended_ns = timeline.warmup_ns + plan.first_ns + number * plan.interval_ns
            if intended_ns >= timeline.measure_end_ns:
                return
            run.wait_until(intended_ns)
            if run.publishing_over or self._over:
                return
            self._publish(number, intended_ns)

    def _publish(self, number: int, intended_ns: int) -> None:
        plan = self._plan

        def make(sent_ns: int, _remote: str | None) -> list[AnyEvent]:
            self._sent += 1
            self._open[number] = EchoRow(number, intended_ns, sent_ns, None, None)
            stamping = self._run.stamping
            if stamping.plain and not plan.example:
                size = plan.payload_bytes
                return [encode_event(self._token, self._publisher, number, intended_ns, sent_ns, size)]
            body = stamping.example(plan.example) if plan.example else stamping.padded(plan.payload_bytes)
            return [stamping.event(self._token, self._publisher, number, intended_ns, sent_ns, body)]

        def on_outcome(answer: PublishAnswer | None, arrival_ns: int, error: TransportError | None) -> None:
            reason = None if error is None else str(error)
            if answer is not None:
                reason = answer.error or answer.rejected.get(0)
            if reason is not None:
                self._count(reason)

        assert self._sender is not None
        self._sender.send(f"e{number}", plan.channel, make, on_outcome)

    def _await_the_last(self) -> None:
        """Wait until all echoes are back or the lane has ended.

        Meanwhile each flush of the worker's record calls :meth:`take`, which removes echoes that have come back.
        """
        while self._open and not self._over:
            gevent.sleep(_POLL_S)

    def _close(self) -> None:
        self._stopping = True
        if self._sender is not None:
            self._sender.close()
        connections = [each for each in (self._receiver, self._publishing) if each is not None]
        for connection in connections:
            connection.close()
        for connection in connections:
            if not connection.ended.wait(_CLOSE_TIMEOUT_S):
                connection.abort()
