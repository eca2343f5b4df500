"""The publish requests of one client that await their outcome, and the rows that record each event's outcome."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from loadgen.measure import publishes
from loadgen.measure.clock import now_ns
from loadgen.native import GivenUp
from loadgen.payloads.stamping import Body, Event, stamped
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.transport.dialing import DialError
from loadgen.transport.errors import TransportError
from loadgen.transport.isolation import OurFailureError
from loadgen.transport.slices import in_slices
from loadgen.users.senders import MakeEvents, OnOutcome
from loadgen.users.worker import WorkerRun

_NOTHING: Mapping[int, str] = {}


class Cause(NamedTuple):
    """The delivery that causes a publish: the event delivered, and the subscription that it came to."""

    publisher: int
    sequence: int
    subscription: int


@dataclass(slots=True)
class OpenRequest:
    """A request without an answer yet, with the values that go into the run's record."""

    #: The numbers of the request's events. They are consecutive, but lack the events that payload() failed to make.
    sequences: Sequence[int]
    channel: str
    intended_ns: int
    slot_ns: int
    #: Time from which the request waits for a connection.
    ready_ns: int
    sizes: Sequence[int]
    #: Time at which the request began to be sent, or None while it waits for an open connection.
    sent_ns: int | None = None
    #: The remote address, or None if it is unknown.
    remote: str | None = None
    #: The delivery that caused the request, or None if the schedule or a task did.
    cause: Cause | None = None
    #: For a journey, the future that gets the answer; else None.
    waiting: Any = None


#: Called with a request whose outcome is recorded, the service's answer or None, the answer's arrival in ns, the status
#: and error for the record, and the reason for each refused event by its index. These are separate arguments, since
#: packing them into a tuple would cost 0.2 µs.
OnSettled = Callable[
    [OpenRequest, PublishAnswer | None, int | None, str, str | None, Mapping[int, str]], object
]


class OpenRequests:
    """Records one row for each event of one client's requests, as soon as the outcome of the request is known.

    A request is identified by its number. It is settled once its rows are recorded; then ``on_settled`` is called.
    """

    def __init__(self, run: WorkerRun, client: ClientPlan, on_settled: OnSettled) -> None:
        self._run, self._client = run, client
        self._on_settled = on_settled
        self._open: dict[int, OpenRequest] = {}

    def __len__(self) -> int:
        """Return the number of requests whose outcome is not recorded yet."""
        return len(self._open)

    def __contains__(self, number: int) -> bool:
        """Return True if a request was begun and its outcome is not recorded yet."""
        return number in self._open

    def making(self, request: OpenRequest, bodies: Sequence[Body]) -> MakeEvents:
        """Return the function that stamps a request's events when a connection is ready; see `MakeEvents`."""
        token, publisher, progress = self._run.recorder.token, self._client.number, self._run.progress

        def make(sent_ns: int, remote: str | None) -> Sequence[Event]:
            events, sizes = stamped(token, publisher, request.sequences, request.intended_ns, sent_ns, bodies)
            request.sizes, request.sent_ns, request.remote = sizes, sent_ns, remote
            progress.sent += len(sizes)
            return events

        return make

    def begin(self, number: int, request: OpenRequest) -> OnOutcome:
        """Await the outcome of a request; return the function that the request's sender calls with the outcome."""
        self._open[number] = request

        def on_outcome(answer: PublishAnswer | None, arrival_ns: int, error: TransportError | None) -> None:
            if answer is None:
                # A request that was not sent because the harness failed must not count as the service's error.
                ours = request.sent_ns is None and isinstance(error, OurFailureError)
                if isinstance(error, DialError):
                    request.remote = error.remote
                self.settle(number, None, None, "unmade" if ours else "error", str(error))
            elif not answer.acknowledged:
                self.settle(number, None, None, "sent", None)
            else:
                self.settle(number, answer, arrival_ns, "accepted", None)

        return on_outcome

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        for number, request in in_slices(list(self._open.items())):
            if request.sent_ns is None:
                self.settle(
                    number, None, None, "error", "no connection could be opened by the end of the drain"
                )
            else:
                self.settle(number, None, None, "unanswered", None)

    def settle_given_up(
        self,
        given: GivenUp,
        answer: PublishAnswer | None,
        acked_ns: int | None,
        status: str,
        error: str | None,
    ) -> None:
        """Record the outcome of a publish that native code sent and then handed back to Python; see `users.direct`."""
        number, _, first, channel, intended_ns, slot_ns, sent_ns, sizes, remote, cause = given
        self._open[number] = OpenRequest(
            *(
                range(first, first + len(sizes)),
                channel,
                intended_ns,
                slot_ns,
                sent_ns,
                sizes,
                sent_ns,
                remote,
            ),
            None if cause is None else Cause(*cause),
        )
        self.settle(number, answer, acked_ns, status, error)

    def settle(
        self, number: int, answer: PublishAnswer | None, acked_ns: int | None, status: str, error: str | None
    ) -> None:
        """Record the outcome of a request, unless it was already recorded."""
        request = self._open.pop(number, None)
        if request is None:
            return
        count, progress = len(request.sizes), self._run.progress
        refused = _NOTHING
        if answer is not None:
            refused = dict.fromkeys(range(count), answer.error) if answer.error else answer.rejected
        sent_ns = request.sent_ns
        rejected = self.record(
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
            # The time for which the request waited for a connection; a request that never got one has waited until now.
            (now_ns() if sent_ns is None else sent_ns) - request.ready_ns,
            request.remote,
            request.cause,
        )
        if answer is not None:
            if answer.error and answer.refusal is not None and not answer.refusal.again:
                self._run.logins.publish_refused(self._client, answer.error)
            progress.accepted += count - rejected
            progress.rejected += rejected
        elif status == "error":
            progress.rejected += count
        self._on_settled(request, answer, acked_ns, status, error, refused)

    def record(
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
        cause: Cause | None = None,
    ) -> int:
        """Record each event of a request; return how many the service refused."""
        # Use positional arguments: keywords would cost as much time as the row itself.
        return publishes.record(
            self._run.recorder.publish, self._client.number, sequences, number, channel, intended_ns, slot_ns,
            sent_ns, acked_ns, status, error, sizes, refused, connection_wait_ns, remote, cause,
        )  # fmt: skip
