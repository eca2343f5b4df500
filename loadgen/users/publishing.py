"""Publishing on an open-loop schedule: a publish is due at its scheduled time, whatever happened to the one before.

`OpenLoopPublisher` decides when an event is sent, and a `Sender` how.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import gevent
from gevent.event import Event as Flag

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.measure.rows import EventRow
from loadgen.measure.stamp import encode_batch, encode_event
from loadgen.measure.undecodable import Undecodable
from loadgen.payloads.makers import Maker
from loadgen.payloads.stamping import Body, size_of
from loadgen.protocol.base import PublishAnswer, Service
from loadgen.protocol.unreadable import ANSWER_UNREADABLE
from loadgen.resolve import ClientPlan
from loadgen.resolve.rows import RequestDraw
from loadgen.transport.dialing import DialError
from loadgen.transport.errors import TransportError, UnreadableError
from loadgen.transport.http import HttpClient
from loadgen.transport.isolation import OurFailureError
from loadgen.users.code import UnmadeError, UserCode
from loadgen.users.connection import ClientConnection
from loadgen.users.worker import Timeline, WorkerRun

#: Takes the answer or None if there was none, its arrival in ns, and the transport's error, if any.
OnOutcome = Callable[[PublishAnswer | None, int, TransportError | None], None]
#: Makes the texts of the events when a connection takes them. Takes the sending time in ns, which goes into each event,
#: and the remote address, or None if it is unknown. Events are texts, or `Marked` if stamps travel beside them.
MakeEvents = Callable[[int, str | None], Sequence[Any]]

#: Overdue requests that one client sends in a row before it yields to the hub.
_LATE_IN_A_ROW = 64
#: The event loop's highest priority.
_FIRST = 2
_NOTHING: Mapping[int, str] = {}
_NO_ROWS: Mapping[str, int] = {}


class Sender(Protocol):
    """Sends one publish request."""

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request without waiting for its answer.

        ``make`` and ``on_outcome`` are called now or later, and must not block. ``make`` is called when an open
        connection takes the events, so never if there is no connection. ``on_outcome`` is called once.
        """

    def close(self) -> None:
        """Free the sender's resources; nothing may be sent afterwards."""


class HttpSender:
    """Sends publish requests over HTTP."""

    def __init__(self, service: Service, client: HttpClient, undecodable: Undecodable) -> None:
        """``undecodable`` counts the unreadable answers."""
        self._service = service
        self._client = client
        self._undecodable = undecodable

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request over the first free connection; see `Sender.send`."""
        service = self._service

        def on_response(status: int, body: bytes, error: TransportError | None) -> None:
            arrival_ns = now_ns()
            if error is None:
                answer = service.http_answer(status, body)
                if answer.unreadable is not None:
                    self._undecodable.add(answer.unreadable, partial(service.shown, body))
                on_outcome(answer, arrival_ns, None)
                return
            if isinstance(error, UnreadableError):
                self._undecodable.add(ANSWER_UNREADABLE, partial(str, error))
            on_outcome(None, arrival_ns, error)

        self._client.submit(
            lambda sent_ns, remote: service.http_publish(channel, make(sent_ns, remote)), on_response
        )

    def close(self) -> None:
        """Close the HTTP client."""
        self._client.close()


class ConnectionSender:
    """Sends publish requests over the client's own connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def send(self, publish_id: str, channel: str, make: MakeEvents, on_outcome: OnOutcome) -> None:
        """Send a request over the client's connection; see `Sender.send`."""

        def on_answer(answer: PublishAnswer | None, arrival_ns: int) -> None:
            on_outcome(
                answer,
                arrival_ns,
                None if answer else TransportError("the connection was lost before the publish was answered"),
            )

        connection = self._connection
        if not connection.has_socket:
            on_outcome(None, now_ns(), TransportError("the connection is closed"))
            return
        try:
            connection.publish(publish_id, channel, make(now_ns(), connection.remote_address), on_answer)
        except TransportError as error:
            on_outcome(None, now_ns(), error)

    def close(self) -> None:
        """Do nothing: the client closes its connection itself."""


@dataclass(slots=True)
class _Request:
    """A request without an answer yet, with the values that go into the record."""

    #: The number of each event. Consecutive, except that events which payload() failed to make are missing.
    sequences: Sequence[int]
    channel: str
    intended_ns: int
    slot_ns: int
    #: Time from which the request waits for a connection.
    ready_ns: int
    sizes: Sequence[int]
    #: Time at which an open connection took the request, or None if none has yet.
    sent_ns: int | None = None
    #: The remote address, or None if it is unknown.
    remote: str | None = None


class OpenLoopPublisher:
    """Runs one client's schedule.

    ``in_flight`` is the most requests that may be unanswered at once (0 for no limit). If that many are, the next
    request waits for a free slot. The record splits a publish's lateness into three parts: from the intended time to
    the slot, caused by the target; from the slot until the request is ready, the generator's own lateness; and from
    there until an open connection takes it, the connection wait.
    """

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        sender: Sender,
        in_flight: int,
        code: UserCode,
    ) -> None:
        assert client.publish is not None
        self._run = run
        self._client = client
        self._plan = client.publish
        self._sender = sender
        self._code = code
        self._in_flight = in_flight
        self._slot_free = Flag()
        self._draw = self._plan.channels()
        self._rows = self._draw.rows if isinstance(self._draw, RequestDraw) else _NO_ROWS
        #: None if events are the usual padding with the usual stamp.
        self._maker = self._plan.maker()
        self._sequence = 0
        self._open: dict[int, _Request] = {}

    def limit(self, events: int) -> None:
        """Limit the events that are unanswered at once to the service's limit; 0 means that it has none.

        A request with more events than that is sent in parts (see the protocol's session).
        """
        if events:
            self._in_flight = max(1, events // self._plan.batch)

    def publish_all(self, timeline: Timeline) -> None:
        """Publish from the start of the warm-up to the end of the measure phase, then return."""
        run, in_flight = self._run, self._in_flight
        free_ns = late_in_a_row = 0
        for number, offset_ns in enumerate(self._plan.offsets_ns()):
            intended_ns = timeline.warmup_ns + offset_ns
            if run.local_ns(intended_ns) > now_ns():
                if run.publishing_over:
                    return
                run.wait_until(intended_ns)
                late_in_a_row = 0
            elif (late_in_a_row := late_in_a_row + 1) == _LATE_IN_A_ROW:
                # In a burst or behind schedule, let the hub read answers. `sleep(0)` would return fifty times before
                # the hub polls its sockets; `idle` at the highest priority returns once it has.
                gevent.idle(_FIRST)
                late_in_a_row = 0
            if in_flight and len(self._open) >= in_flight and not run.publishing_over:
                self._wait_for_slot()
                free_ns = now_ns()
            channel = self._draw.next()
            sequence, self._sequence = self._sequence, self._sequence + self._plan.batch
            if run.publishing_over:
                # It was due but is too late now. Record it, so that it counts as offered load.
                self._record_unsent(
                    number, self._sequences(sequence), channel, intended_ns, None, "unsent", None
                )
                continue
            # The target causes the wait for a free slot; any delay after it is the generator's.
            slot_ns = max(run.local_ns(intended_ns), free_ns)
            try:
                self._publish(number, self._sequences(sequence), channel, intended_ns, slot_ns)
            except Exception as error:
                # Only this publish has failed; the schedule goes on.
                run.failures.add(HARNESS, "a publish", error)
                self._give_up_one(number, sequence, channel, intended_ns, slot_ns)

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        self._sender.close()
        for number, request in list(self._open.items()):
            if request.sent_ns is None:
                self._settle(
                    number, None, None, "error", "no connection was to be had by the end of the drain"
                )
            else:
                self._settle(number, None, None, "unanswered", None)

    def _wait_for_slot(self) -> None:
        while len(self._open) >= self._in_flight:
            self._slot_free.clear()
            self._slot_free.wait()

    def _sequences(self, first: int) -> Sequence[int]:
        return range(first, first + self._plan.batch)

    def _publish(
        self, number: int, sequences: Sequence[int], channel: str, intended_ns: int, slot_ns: int
    ) -> None:
        plan, run = self._plan, self._run
        members: list[str] = []
        unmade: dict[int, str] = {}
        # Run the user's code before taking the sending time: its duration is our lateness, not the service's latency.
        for sequence in sequences:
            try:
                members.append(self._code.members())
            except UnmadeError as error:
                unmade[sequence] = str(error)
        if unmade:
            sequences = [sequence for sequence in sequences if sequence not in unmade]
        for sequence, reason in unmade.items():
            self._record_unsent(number, (sequence,), channel, intended_ns, slot_ns, "unmade", reason)
        if not members:
            return
        bodies = None if self._maker is None else self._bodies(self._maker, sequences, members)
        token, publisher, size = run.recorder.token, self._client.number, plan.payload_bytes
        # Until the events are made, use the planned size.
        request = _Request(
            sequences, channel, intended_ns, slot_ns, now_ns(), (plan.payload_bytes,) * len(members)
        )
        self._open[number] = request

        def make(sent_ns: int, remote: str | None) -> Sequence[str]:
            if unmade:
                events = [
                    encode_event(token, publisher, sequence, intended_ns, sent_ns, size, own)
                    for sequence, own in zip(sequences, members, strict=True)
                ]
            else:
                events = encode_batch(token, publisher, sequences[0], intended_ns, sent_ns, size, members)
            request.sizes = [len(event) if event.isascii() else len(event.encode()) for event in events]
            request.sent_ns, request.remote = sent_ns, remote
            run.progress.sent += len(events)
            return events

        def on_outcome(answer: PublishAnswer | None, arrival_ns: int, error: TransportError | None) -> None:
            if answer is None:
                # If our own failure kept it from being sent, it must not count as the service's error.
                ours = request.sent_ns is None and isinstance(error, OurFailureError)
                if isinstance(error, DialError):
                    request.remote = error.remote
                self._settle(number, None, None, "unmade" if ours else "error", str(error))
            elif not answer.acknowledged:
                self._settle(number, None, None, "sent", None)
            else:
                self._settle(number, answer, arrival_ns, "accepted", None)

        sealed = make if bodies is None else self._sealing(request, bodies)
        self._sender.send(f"p{number}", channel, sealed, on_outcome)

    def _bodies(self, maker: Maker, sequences: Sequence[int], members: Sequence[str]) -> list[Body]:
        """Return the bodies of events; members that the user's payload() returned replace the scenario's content."""
        made = [maker.next(sequence, self._rows) for sequence in sequences]
        if not any(members):
            return made
        size = self._plan.payload_bytes if self._plan.padded else 1
        padded = self._run.stamping.padded
        return [padded(size, own) if own else body for body, own in zip(made, members, strict=True)]

    def _sealing(self, request: _Request, bodies: Sequence[Body]) -> MakeEvents:
        """Return the function that stamps bodies when a connection takes them; see `MakeEvents`."""
        run, publisher = self._run, self._client.number
        stamped, token = run.stamping.event, run.recorder.token

        def make(sent_ns: int, remote: str | None) -> Sequence[Any]:
            events = [
                stamped(token, publisher, sequence, request.intended_ns, sent_ns, body)
                for sequence, body in zip(request.sequences, bodies, strict=True)
            ]
            request.sizes = [size_of(event) for event in events]
            request.sent_ns, request.remote = sent_ns, remote
            run.progress.sent += len(events)
            return events

        return make

    def _settle(
        self, number: int, answer: PublishAnswer | None, acked_ns: int | None, status: str, error: str | None
    ) -> None:
        """Record the outcome of a request, unless it was already recorded."""
        request = self._open.pop(number, None)
        if request is None:
            return
        self._slot_free.set()
        count, progress = len(request.sizes), self._run.progress
        refused: Mapping[int, str] = {}
        if answer is not None:
            refused = dict.fromkeys(range(count), answer.error) if answer.error else answer.rejected
        sent_ns = request.sent_ns
        rejected = self._record(
            number,
            request.sequences,
            request.channel,
            request.intended_ns,
            request.slot_ns,
            sent_ns,
            request.sizes,
            acked_ns,
            status,
            error,
            refused,
            # A request that never got a connection has waited until now.
            (now_ns() if sent_ns is None else sent_ns) - request.ready_ns,
            request.remote,
        )
        if refused:
            self._blame_size(refused, request.sizes)
        if answer is not None:
            progress.accepted += count - rejected
            progress.rejected += rejected
        elif status == "error":
            progress.rejected += count

    def _blame_size(self, refused: Mapping[int, str], sizes: Sequence[int]) -> None:
        """Count a failure of the user's code for each refused event that it made larger than the service takes."""
        most = self._run.most_event_bytes
        if most is None or self._plan.payload_bytes > most or not self._plan.padded:
            return
        for index in refused:
            if index < len(sizes) and sizes[index] > most:
                self._code.too_large(sizes[index], most)

    def _give_up_one(self, number: int, sequence: int, channel: str, intended_ns: int, slot_ns: int) -> None:
        """Record a request whose publishing failed in the harness: as an error if it was begun, else as unmade."""
        reason = "the harness failed at it"
        if number in self._open:
            self._settle(number, None, None, "error", reason)
        else:
            self._record_unsent(
                number, self._sequences(sequence), channel, intended_ns, slot_ns, "unmade", reason
            )

    def _record_unsent(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int | None,
        status: str,
        error: str | None,
    ) -> None:
        """Record events that were due but not sent, with their planned size."""
        sizes = (self._plan.payload_bytes,) * len(sequences)
        self._record(number, sequences, channel, intended_ns, slot_ns, None, sizes, None, status, error)

    def _record(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int | None,
        sent_ns: int | None,
        sizes: Sequence[int],
        acked_ns: int | None,
        status: str,
        error: str | None,
        refused: Mapping[int, str] = _NOTHING,
        connection_wait_ns: int | None = None,
        remote: str | None = None,
    ) -> int:
        """Record each event of a request; return how many the service refused."""
        add, publisher = self._run.recorder.event, self._client.number
        rejected = 0
        for index, size in enumerate(sizes):
            reason = refused.get(index) if refused else None
            if reason is not None:
                rejected += 1
            # Positional arguments: keywords would cost as much time as the row itself.
            add(
                EventRow(
                    publisher,
                    sequences[index],
                    number,
                    channel,
                    intended_ns,
                    slot_ns,
                    sent_ns,
                    acked_ns,
                    status if reason is None else "rejected",
                    error if reason is None else reason,
                    size,
                    connection_wait_ns,
                    remote,
                )
            )
        return rejected
