"""Publishing on an open-loop schedule: a publish is due when the schedule says, whatever became of the one before.

How an event travels (`Sender`) is apart from when it is due (`OpenLoopPublisher`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from gevent.pool import Pool

from loadgen.measure.clock import now_ns
from loadgen.measure.recorder import EventRow
from loadgen.measure.stamp import encode_event
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.scenario import ClientPlan
from loadgen.transport.errors import TransportError
from loadgen.transport.http import HttpClient
from loadgen.users.connection import ClientConnection
from loadgen.users.worker import Timeline, WorkerRun

#: Told the answer (None: there was none), its arrival, and the transport's error if there was one.
OnOutcome = Callable[[PublishAnswer | None, int, str | None], None]


class Sender(Protocol):
    """Sends one publish request."""

    def send(self, publish_id: str, channel: str, events: Sequence[str], on_outcome: OnOutcome) -> None:
        """Send; ``on_outcome`` is called once, now or later."""


class HttpSender:
    """Over HTTP: blocks its greenlet until the answer is there."""

    def __init__(self, service: Service, client: HttpClient) -> None:
        self._service = service
        self._client = client

    def send(self, publish_id: str, channel: str, events: Sequence[str], on_outcome: OnOutcome) -> None:
        """Send and wait for the answer."""
        request = self._service.http_publish(channel, events)
        try:
            status, body = self._client.post(request.body, request.headers)
        except TransportError as error:
            on_outcome(None, now_ns(), str(error))
            return
        on_outcome(self._service.http_answer(status, body), now_ns(), None)


class WebSocketSender:
    """Over the client's WebSocket: returns at once, the answer comes later."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def send(self, publish_id: str, channel: str, events: Sequence[str], on_outcome: OnOutcome) -> None:
        """Send; the answer is told when it comes."""

        def on_answer(answer: PublishAnswer | None, arrival_ns: int) -> None:
            on_outcome(
                answer,
                arrival_ns,
                None if answer else "the connection was lost before the publish was answered",
            )

        try:
            self._connection.publish(publish_id, channel, events, on_answer)
        except TransportError as error:
            on_outcome(None, now_ns(), str(error))


class OpenLoopPublisher:
    """Runs one client's schedule.

    ``in_flight`` bounds how many requests may block at once (0: the sender never blocks). When all are under way, the
    next waits for a slot: slot − intended is on record as the target's doing, sent − slot as our own lateness.
    """

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        sender: Sender,
        in_flight: int,
        payload: Callable[[], Mapping[str, Any] | None],
    ) -> None:
        assert client.publish is not None
        self._run = run
        self._client = client
        self._plan = client.publish
        self._sender = sender
        self._payload = payload
        self._pool = Pool(in_flight) if in_flight else None
        self._draw = self._plan.channels()
        self._sequence = 0
        self._open: dict[int, list[EventRow]] = {}

    def publish_all(self, timeline: Timeline) -> None:
        """Publish from the start of the warm-up to the end of the measure phase, then return."""
        wait_until, pool, run = self._run.wait_until, self._pool, self._run
        free_ns = 0
        for number, offset_ns in enumerate(self._plan.offsets_ns()):
            intended_ns = timeline.warmup_ns + offset_ns
            if run.publishing_over and run.local_ns(intended_ns) > now_ns():
                return
            wait_until(intended_ns)
            if pool is not None and not run.publishing_over and pool.full():
                pool.wait_available()
                free_ns = now_ns()
            channel = self._draw.next()
            sequence, self._sequence = self._sequence, self._sequence + self._plan.batch
            if run.publishing_over:
                # Due, and too late now: on record, so that it is not taken for never offered.
                self._record_unsent(number, sequence, channel, intended_ns)
                continue
            # A wait for a free request slot is the target's doing; what comes after it is ours.
            slot_ns = max(run.local_ns(intended_ns), free_ns)
            if pool is not None:
                pool.spawn(self._publish, number, sequence, channel, intended_ns, slot_ns)
            else:
                self._publish(number, sequence, channel, intended_ns, slot_ns)

    def give_up(self) -> None:
        """Record as unanswered what has no answer yet; call when the drain is over."""
        if self._pool is not None:
            self._pool.kill()
        for number in list(self._open):
            for row in self._open.pop(number):
                self._run.recorder.event(row)

    def _record_unsent(self, number: int, sequence: int, channel: str, intended_ns: int) -> None:
        for k in range(self._plan.batch):
            self._run.recorder.event(
                EventRow(
                    publisher=self._client.number,
                    sequence=sequence + k,
                    batch=number,
                    channel=channel,
                    intended_ns=intended_ns,
                    slot_ns=None,
                    sent_ns=None,
                    acked_ns=None,
                    status="unsent",
                    error=None,
                    bytes=self._plan.payload_bytes,
                )
            )

    def _publish(self, number: int, sequence: int, channel: str, intended_ns: int, slot_ns: int) -> None:
        plan = self._plan
        token = self._run.recorder.token
        publisher = self._client.number
        sent_ns = now_ns()
        events = [
            encode_event(
                token, publisher, sequence + k, intended_ns, sent_ns, plan.payload_bytes, self._payload()
            )
            for k in range(plan.batch)
        ]
        self._open[number] = [
            EventRow(
                publisher=publisher,
                sequence=sequence + k,
                batch=number,
                channel=channel,
                intended_ns=intended_ns,
                slot_ns=slot_ns,
                sent_ns=sent_ns,
                acked_ns=None,
                status="unanswered",
                error=None,
                bytes=len(event) if event.isascii() else len(event.encode()),
            )
            for k, event in enumerate(events)
        ]
        self._run.progress.sent += len(events)

        def on_outcome(answer: PublishAnswer | None, arrival_ns: int, error: str | None) -> None:
            self._settle(number, answer, arrival_ns, error)

        self._sender.send(f"p{number}", channel, events, on_outcome)

    def _settle(self, number: int, answer: PublishAnswer | None, arrival_ns: int, error: str | None) -> None:
        rows = self._open.pop(number, None)
        if rows is None:
            return
        progress, recorder = self._run.progress, self._run.recorder
        if answer is None:
            for row in rows:
                recorder.event(row._replace(status="error", error=error))
            progress.rejected += len(rows)
            return
        for index, row in enumerate(rows):
            reason = answer.error or answer.rejected.get(index)
            if reason is None:
                recorder.event(row._replace(status="accepted", acked_ns=arrival_ns))
                progress.accepted += 1
            else:
                recorder.event(row._replace(status="rejected", acked_ns=arrival_ns, error=reason))
                progress.rejected += 1
