"""The publish requests of one client: makes their events and sends them.

`publishing` decides when an event is due, and `open_requests` records its outcome.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from loadgen.measure.clock import now_ns
from loadgen.measure.failures import HARNESS
from loadgen.payloads.makers import Maker as BodyMaker
from loadgen.payloads.makers import Padding
from loadgen.payloads.stamping import Body, plain
from loadgen.protocol.base import PublishAnswer
from loadgen.resolve import ClientPlan
from loadgen.users.code import UnmadeError
from loadgen.users.open_requests import Cause, OpenRequest, OpenRequests
from loadgen.users.senders import ConnectionSender, Sender
from loadgen.users.worker import WorkerRun

NO_ROWS: Mapping[str, int] = {}
_NO_MEMBERS: Sequence[str] = ()


class Maker(Protocol):
    """Makes the members of events; see `UserCode`."""

    @property
    def makes_members(self) -> bool:
        """False if events get no members."""

    def members(self) -> str:
        """Return the JSON text of the next event's members, without braces; raises UnmadeError."""

    def too_large(self, size_bytes: int, most_bytes: int) -> None:
        """Count a failure of user code: the service refused an event because its members made it too large.

        ``size_bytes`` is the event's size, ``most_bytes`` the largest that the service accepts.
        """


class PublishRequests:
    """Sends one client's publish requests, and records a row for each event that was due.

    Requests and events are identified by their numbers (see `Numbers`). ``on_settled`` is called when the outcome of a
    request has been recorded.

    A client may have a limited number of unanswered requests; each takes a slot. The run's record splits a request's
    lateness into three parts. First it waits for a free slot, which the target causes, because it has not answered
    earlier requests. Then the generator makes the request; this time is the generator's own lateness. Last, the request
    waits for an open connection.
    """

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        sender: Sender,
        code: Maker,
        on_settled: Callable[[], object],
        rows: Mapping[str, int] = NO_ROWS,
        payload_bytes: int | None = None,
    ) -> None:
        """``rows`` holds the data rows of the next request; its content changes with each request.

        ``payload_bytes`` is the size up to which events are padded. If it is None, the client's schedule determines
        their content and size.
        """
        self._run = run
        self._client = client
        self._sender = sender
        self._code = code
        self._on_settled = on_settled
        self._open = OpenRequests(run, client, self._after)
        self._rows = rows
        #: The object that makes the events' bodies. It is None if bodies are mere padding and the stamp has its default
        #: place.
        self._maker: BodyMaker | None
        if payload_bytes is None:
            assert client.publish is not None
            self._payload_bytes, self._padded = client.publish.payload_bytes, client.publish.padded
            self._maker = client.publish.maker()
        else:
            self._payload_bytes, self._padded = payload_bytes, True
            self._maker = None if run.stamping.plain else Padding(payload_bytes, run.stamping)
        self._plain = plain(self._payload_bytes)
        #: The connection to publish over; None over HTTP. If possible, native code sends the publishes (see
        #: `users.direct`).
        self._connection = sender.connection if isinstance(sender, ConnectionSender) else None
        #: True if each answer must be reported at once, because a limit on unanswered requests depends on it.
        self.awaited = False

    @property
    def unanswered(self) -> int:
        """Number of requests that have been begun and are not answered yet."""
        return len(self._open)

    def publish(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int,
        cause: Cause | None = None,
    ) -> None:
        """Make and send a request's events; return without waiting for the answer. Never raises.

        ``intended_ns`` is on the master's clock. ``slot_ns`` is the time to send on this process's clock; sending
        later counts as the load generator's delay. ``cause`` is the delivery that caused the request.
        """
        try:
            self._publish(number, sequences, channel, intended_ns, slot_ns, cause)
        except Exception as error:
            # The failure concerns this publish only: record it and go on with the schedule.
            self._run.failures.add(HARNESS, "a publish", error)
            reason = "the harness failed at it"
            if number in self._open:
                self._open.settle(number, None, None, "error", reason)
            else:
                self._record_unsent(number, sequences, channel, intended_ns, slot_ns, "unmade", reason, cause)

    def too_late(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        cause: Cause | None = None,
    ) -> None:
        """Record a request that was due but will not be sent, so that it counts as offered load."""
        self._record_unsent(number, sequences, channel, intended_ns, None, "unsent", None, cause)

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        self._sender.close()
        if self._connection is not None and (direct := self._connection.direct) is not None:
            direct.give_up(self._open)
        self._open.give_up()

    def _publish(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int,
        cause: Cause | None,
    ) -> None:
        members: Sequence[str] = _NO_MEMBERS
        if self._code.makes_members:
            sequences, members = self._made(number, sequences, channel, intended_ns, slot_ns, cause)
            if not members:
                return
        bodies = self._bodies(sequences, members)
        if self._connection is not None and not self.awaited and type(sequences) is range:
            direct = self._connection.direct
            if direct is not None and direct.send(
                self._open, number, sequences, channel, intended_ns, slot_ns, bodies, cause
            ):
                self._run.progress.sent += len(sequences)
                return
        # `_payload_bytes` is the planned size; the actual sizes are known only when the events have been made.
        request = OpenRequest(
            sequences,
            channel,
            intended_ns,
            slot_ns,
            now_ns(),
            (self._payload_bytes,) * len(sequences),
            cause=cause,
        )
        on_outcome = self._open.begin(number, request)
        self._sender.send(f"p{number}", channel, self._open.making(request, bodies), on_outcome)

    def _made(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int,
        cause: Cause | None,
    ) -> tuple[Sequence[int], Sequence[str]]:
        """Let the user's code make the content of events; return the made events' sequence numbers and contents.

        The content of an event is the text of its JSON members. An event whose code fails is recorded as unmade.

        Call this before the sending time is read: the time that user code takes is the generator's lateness, and not
        the service's latency.
        """
        members: list[str] = []
        unmade: dict[int, str] = {}
        for sequence in sequences:
            try:
                members.append(self._code.members())
            except UnmadeError as error:
                unmade[sequence] = str(error)
        if unmade:
            sequences = [sequence for sequence in sequences if sequence not in unmade]
        for sequence, reason in unmade.items():
            self._record_unsent(number, (sequence,), channel, intended_ns, slot_ns, "unmade", reason, cause)
        return sequences, members

    def _bodies(self, sequences: Sequence[int], members: Sequence[str]) -> list[Body]:
        """Return the bodies of events.

        An event's item in ``members`` is the JSON that the user's payload() returned; it replaces the scenario's
        content.
        ``members`` is empty if the user's code makes no content.
        """
        size, maker = self._payload_bytes, self._maker
        if maker is None:
            usual = self._plain
            if not members:
                return [usual] * len(sequences)
            return [plain(size, own) if own else usual for own in members]
        made = [maker.next(sequence, self._rows) for sequence in sequences]
        if not any(members):
            return made
        padded = self._run.stamping.padded
        size = size if self._padded else 1
        return [padded(size, own) if own else body for body, own in zip(made, members, strict=True)]

    def _after(
        self,
        request: OpenRequest,
        answer: PublishAnswer | None,
        acked_ns: int | None,
        status: str,
        error: str | None,
        refused: Mapping[int, str],
    ) -> None:
        if refused:
            self._blame_size(refused, request.sizes)
        self._on_settled()

    def _blame_size(self, refused: Mapping[int, str], sizes: Sequence[int]) -> None:
        """Count a failure of the user's code for each refused event that its members made too large for the service."""
        most = self._run.most_event_bytes
        if most is None or self._payload_bytes > most or not self._padded:
            return
        for index in refused:
            if index < len(sizes) and sizes[index] > most:
                self._code.too_large(sizes[index], most)

    def _record_unsent(
        self,
        number: int,
        sequences: Sequence[int],
        channel: str,
        intended_ns: int,
        slot_ns: int | None,
        status: str,
        error: str | None,
        cause: Cause | None,
    ) -> None:
        """Record events that were due but not sent, with their planned size."""
        sizes = (self._payload_bytes,) * len(sequences)
        self._open.record(
            number, sequences, channel, intended_ns, slot_ns, None, sizes, None, status, error, cause=cause
        )
