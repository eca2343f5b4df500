"""The publishes of one journey: sends them, waits for their answers, and records a row for each event."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gevent.event import AsyncResult

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.measure.rows import EventRow
from loadgen.payloads.stamping import size_of
from loadgen.protocol.base import PublishAnswer
from loadgen.transport.dialing import DialError
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.users.journeys.stamping import stamped
from loadgen.users.requests import Cause
from loadgen.users.senders import MakeEvents, Sender
from loadgen.users.worker import WorkerRun


@dataclass(frozen=True)
class Answer:
    """What became of a publish; true if the service accepted every event, or acknowledges none."""

    error: str | None = None
    """Why the request failed or was refused as a whole, or None."""
    rejected: Mapping[int, str] = field(default_factory=dict)
    """Why the service refused single events, by their place in the request."""
    seconds: float | None = None
    """Time from sending to the answer, or None if there was none."""

    def __bool__(self) -> bool:
        """Return True if no event was refused or lost on its way to the service."""
        return self.error is None and not self.rejected


@dataclass(slots=True)
class _Request:
    first: int
    channel: str
    members: Sequence[str]
    intended_ns: int
    slot_ns: int
    ready_ns: int
    answer: AsyncResult
    sizes: Sequence[int]
    #: The delivery that caused the request, if it is a reply.
    cause: Cause | None = None
    sent_ns: int | None = None
    remote: str | None = None


class JourneyPublishes:
    """Sends one journey's publish requests; numbers its events from 0."""

    def __init__(self, run: WorkerRun, publisher: int) -> None:
        """``publisher`` is the client's number in the run."""
        self._run, self._publisher = run, publisher
        self._sequence = self._number = 0
        self._open: dict[int, _Request] = {}

    def publish(
        self,
        sender: Sender,
        channel: str,
        members: Sequence[str],
        intended_ns: int,
        slot_ns: int,
        cause: Cause | None = None,
    ) -> AsyncResult:
        """Send a request and return its future `Answer`, without waiting.

        ``members`` are the events from `stamping.unstamped`; ``intended_ns`` is on the master's clock and ``slot_ns``
        on this process's. ``cause`` is the delivery that a reply answers.
        """
        number, self._number = self._number, self._number + 1
        first, self._sequence = self._sequence, self._sequence + len(members)
        request = _Request(
            first,
            channel,
            members,
            intended_ns,
            slot_ns,
            now_ns(),
            AsyncResult(),
            [len(each.encode()) for each in members],
            cause,
        )
        self._open[number] = request
        try:
            sender.send(f"p{number}", channel, self._making(request), self._on_outcome(number, request))
        except Exception as error:
            self._run.failures.add(HARNESS, "a journey's publish", error)
            self._settle(number, None, None, "error", "the harness failed at it")
        return request.answer

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        for number, request in list(self._open.items()):
            if request.sent_ns is None:
                self._settle(
                    number, None, None, "error", "no connection could be opened by the end of the drain"
                )
            else:
                self._settle(number, None, None, "unanswered", None)

    def _making(self, request: _Request) -> MakeEvents:
        run, publisher, stamping = self._run, self._publisher, self._run.stamping
        bodies = [] if stamping.plain else [stamping.padded(1, each) for each in request.members]

        def make(sent_ns: int, remote: str | None) -> Sequence[Any]:
            token, first, intended_ns = run.recorder.token, request.first, request.intended_ns
            events: list[Any] = (
                [
                    stamped(token, publisher, first + place, intended_ns, sent_ns, each)
                    for place, each in enumerate(request.members)
                ]
                if stamping.plain
                else [
                    stamping.event(token, publisher, first + place, intended_ns, sent_ns, body)
                    for place, body in enumerate(bodies)
                ]
            )
            request.sizes = [size_of(event) for event in events]
            request.sent_ns, request.remote = sent_ns, remote
            run.progress.sent += len(events)
            return events

        return make

    def _on_outcome(
        self, number: int, request: _Request
    ) -> Callable[[PublishAnswer | None, int, TransportError | None], None]:
        def on_outcome(answer: PublishAnswer | None, arrival_ns: int, error: TransportError | None) -> None:
            if answer is None:
                ours = request.sent_ns is None and isinstance(error, OurFailureError)
                if isinstance(error, DialError):
                    request.remote = error.remote
                self._settle(number, None, None, "unmade" if ours else "error", str(error))
            elif not answer.acknowledged:
                self._settle(number, None, None, "sent", None)
            else:
                self._settle(number, answer, arrival_ns, "accepted", None)

        return on_outcome

    def _settle(
        self, number: int, answer: PublishAnswer | None, acked_ns: int | None, status: str, error: str | None
    ) -> None:
        """Record the outcome of a request, unless it was already recorded, and tell who waits for it."""
        request = self._open.pop(number, None)
        if request is None:
            return
        count, progress = len(request.sizes), self._run.progress
        refused: Mapping[int, str] = {}
        if answer is not None:
            refused = dict.fromkeys(range(count), answer.error) if answer.error else dict(answer.rejected)
        wait_ns = (now_ns() if request.sent_ns is None else request.sent_ns) - request.ready_ns
        for place, size in enumerate(request.sizes):
            reason = refused.get(place)
            self._run.recorder.event(
                EventRow(
                    self._publisher,
                    request.first + place,
                    number,
                    request.channel,
                    request.intended_ns,
                    request.slot_ns,
                    request.sent_ns,
                    acked_ns,
                    status if reason is None else "rejected",
                    error if reason is None else reason,
                    size,
                    wait_ns,
                    request.remote,
                    *(request.cause or (None, None, None)),
                )
            )
        if answer is not None:
            rejected = sum(place in refused for place in range(count))
            progress.accepted += count - rejected
            progress.rejected += rejected
        elif status in ("error", "unmade"):
            progress.rejected += count
        seconds = None if acked_ns is None or request.sent_ns is None else (acked_ns - request.sent_ns) / 1e9
        whole = error if answer is None else answer.error
        if status == "unanswered":
            whole = "the service did not answer"
        request.answer.set(Answer(whole, {} if whole else refused, seconds))
