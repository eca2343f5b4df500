"""Direct publishes: native code, the lane of a connection, sends and records them without Python.

Each connection has one lane (`loadgen.native.PublishLane`). If an answer accepts all events of a publish, the lane
records the events without calling Python. It hands every other publish back to Python ("gives it up"), where the
outcome is recorded: the service refused something, the connection was lost, or no answer came by the end of the drain,
the phase after publishing has ended.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from loadgen.native import DeliveryFastPath, FastPath, GivenUp, PublishLane, Rows
from loadgen.payloads.stamping import Body
from loadgen.protocol.base import PublishAnswer, PublishFrame, Session
from loadgen.resolve import ClientPlan
from loadgen.transport.isolation import OnFailed
from loadgen.transport.slices import in_slices
from loadgen.transport.stream import SocketStream
from loadgen.users.unanswered import LOST
from loadgen.users.worker import WorkerRun


class Owner(Protocol):
    """The user that sends publishes through native code; it records those that the native code hands back to Python."""

    def settle_given_up(
        self,
        given: GivenUp,
        answer: PublishAnswer | None,
        acked_ns: int | None,
        status: str,
        error: str | None,
    ) -> None:
        """Record the outcome of a publish."""


class DirectPublishes:
    """Sends publishes through a connection's lane (native code); owners record the publishes that it hands back."""

    __slots__ = ("_frame_of", "_lane", "_numbers", "_owners", "_socket")

    def __init__(
        self, lane: PublishLane, frame_of: Callable[[str], PublishFrame | None], socket: SocketStream
    ) -> None:
        """``frame_of`` returns the template of publish messages to a channel, or None if native code cannot fill it."""
        self._lane, self._frame_of, self._socket = lane, frame_of, socket
        self._owners: list[Owner] = []
        self._numbers: dict[Owner, int] = {}

    def fast_path(self, rows: Rows, deliveries: FastPath | None) -> FastPath:
        """Make ``deliveries``, or a new fast path if it is None, also process the answers to publishes; return it."""
        fast_path = DeliveryFastPath(rows) if deliveries is None else deliveries
        assert isinstance(fast_path, DeliveryFastPath)
        fast_path.answers(self._lane)
        return fast_path

    def send(
        self,
        owner: Owner,
        number: int,
        sequences: range,
        channel: str,
        intended_ns: int,
        slot_ns: int,
        bodies: Sequence[Body],
        cause: tuple[int, int, int] | None,
    ) -> bool:
        """Send a publish now; return False without sending anything if `Sender.send` must send it.

        If the answer does not accept all events, ``owner`` records the publish's outcome.
        """
        socket = self._socket
        descriptor, frame = socket.way_to_send(), self._frame_of(channel)
        if descriptor is None or frame is None:
            return False
        sent = self._lane.publish(
            descriptor, frame, number, sequences.start, channel, intended_ns, slot_ns, bodies,
            socket.remote_address, cause, self._number_of(owner),
        )  # fmt: skip
        if sent is True:
            return True
        if sent is None:
            return False
        try:
            socket.send_frame(sent)
        except BaseException:
            # The publish was not sent, so no answer will come: remove it from the lane. The caller records the failure.
            self._lane.withdraw(f"p{number}")
            raise
        return True

    def answered(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """Give a publish's owner the answer that native code did not process; drop it if no publish awaits it."""
        given = self._lane.withdraw(publish_id)
        if given is not None:
            self._owners[given[1]].settle_given_up(given, answer, arrival_ns, "accepted", None)

    def give_up(self, owner: Owner) -> None:
        """Record as unanswered the publishes of ``owner`` (one sender) that still await answers."""
        number = self._numbers.get(owner)
        if number is not None:
            for given in in_slices(self._lane.withdraw_all(number)):
                owner.settle_given_up(given, None, None, "unanswered", None)

    def lost(self, on_failed: OnFailed) -> None:
        """Record as errors all publishes that still await answers, since the connection is lost."""
        for given in self._lane.withdraw_all():
            try:
                self._owners[given[1]].settle_given_up(given, None, None, "error", LOST)
            except Exception as error:
                on_failed(error)

    def _number_of(self, owner: Owner) -> int:
        number = self._numbers.setdefault(owner, len(self._owners))
        if number == len(self._owners):
            self._owners.append(owner)
        return number


def direct_publishes(
    run: WorkerRun, client: ClientPlan, session: Session, socket: SocketStream
) -> DirectPublishes | None:
    """Return the direct publishes of a connection, or None if Python (`Sender.send`) must send all its publishes."""
    rows: Any = run.recorder.native_publishes
    if rows is None or socket.way_to_send() is None:
        return None
    lane = PublishLane(rows, run.recorder.token, client.number)
    frame_of = session.use_lane(lane)
    return None if frame_of is None else DirectPublishes(lane, frame_of, socket)
