"""Publish for one client that runs tasks: send the requests, await their answers, and record a row for each event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gevent.event import AsyncResult

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.payloads.stamping import plain
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.users.numbering import Numbers
from loadgen.users.open_requests import Cause, OpenRequest, OpenRequests
from loadgen.users.senders import MakeEvents, Sender
from loadgen.users.worker import WorkerRun


@dataclass(frozen=True)
class Answer:
    """The outcome of a publish request; truthy if no event was refused by the service or lost on the way to it."""

    error: str | None = None
    """The reason why the request failed or was refused as a whole, or None."""
    rejected: Mapping[int, str] = field(default_factory=dict)
    """The reasons why the service refused single events, by the event's index in the request."""
    seconds: float | None = None
    """Time from sending to the answer, or None if there was none."""

    def __bool__(self) -> bool:
        """Return True if no event was refused or lost on its way to the service."""
        return self.error is None and not self.rejected


class JourneyPublishes:
    """Sends one journey's publish requests; numbers its events from 0."""

    def __init__(self, run: WorkerRun, client: ClientPlan) -> None:
        self._run = run
        self._numbers = Numbers()
        self._open = OpenRequests(run, client, _tell)

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

        ``members`` are the events from `stamping.unstamped`. ``intended_ns`` is the time at which the request was due,
        on the master's clock. ``slot_ns`` is the time from which it could be sent, on this process's clock. For a
        reply, ``cause`` is the delivery that it answers.
        """
        number, sequences = self._numbers.next(len(members))
        sizes, waiting = [len(each.encode()) for each in members], AsyncResult()
        request = OpenRequest(
            sequences, channel, intended_ns, slot_ns, now_ns(), sizes, cause=cause, waiting=waiting
        )
        on_outcome = self._open.begin(number, request)
        try:
            make = self._making(request, members)
            sender.send(f"p{number}", channel, make, on_outcome)
        except Exception as error:
            self._run.failures.add(HARNESS, "a journey's publish", error)
            self._open.settle(number, None, None, "error", "the harness failed at it")
        return waiting

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        self._open.give_up()

    def _making(self, request: OpenRequest, members: Sequence[str]) -> MakeEvents:
        stamping = self._run.stamping
        if stamping.plain:
            return self._open.making(request, [plain(0, each) for each in members])
        return self._open.making(request, [stamping.padded(1, each) for each in members])


def _tell(
    request: OpenRequest,
    answer: PublishAnswer | None,
    acked_ns: int | None,
    status: str,
    error: str | None,
    refused: Mapping[int, str],
) -> None:
    """Give the task that waits for the request its `Answer`; see `OnSettled`."""
    sent_ns = request.sent_ns
    seconds = None if acked_ns is None or sent_ns is None else (acked_ns - sent_ns) / 1e9
    whole = error if answer is None else answer.error
    if status == "unanswered":
        whole = "the service did not answer"
    request.waiting.set(Answer(whole, {} if whole else dict(refused), seconds))
