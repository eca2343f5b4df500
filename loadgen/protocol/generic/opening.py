"""The messages that a protocol file's `opening` requires before a connection can be used."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from loadgen.protocol.generic.frames import Frame
from loadgen.protocol.generic.login_frame import LoginFrame
from loadgen.protocol.generic.patterns import Pattern

OnMessage = Callable[[bytes | bytearray, int, int], None]


class Step(NamedTuple):
    """A step of the opening with environment variables filled in: a frame to send or a pattern to wait for."""

    frame: Frame | LoginFrame | None
    pattern: Pattern | None


#: The last step if connecting to the URL already subscribes: hold messages until `subscribe` gives the
#: subscription's id.
HOLD: Final = Step(None, None)


class Opening:
    """The progress of one connection's opening.

    The service may send before :meth:`begin` is called. Until then, the frames to send in reply are queued, and the
    time at which the service completed the opening is kept.
    """

    __slots__ = ("_begun", "_early", "_held", "greeted_ns", "steps")

    def __init__(self, steps: Sequence[Step]) -> None:
        #: The remaining steps; always the same list object, since the receive path holds a reference to it.
        self.steps = list(steps)
        self._begun = False
        self._early: list[bytes] = []
        self._held: list[tuple[bytes, int, int]] = []
        #: The time at which the service completed the opening, if that was before :meth:`begin`; else None.
        self.greeted_ns: int | None = None

    @property
    def expected(self) -> Pattern | None:
        """The pattern of the message that the service must send next, or None if there is none."""
        return self.steps[0].pattern if self.steps else None

    @property
    def holds(self) -> bool:
        """True while received messages must be held: the URL itself makes the subscription, which has no id yet."""
        return bool(self.steps) and self.steps[0] is HOLD

    def begin(self) -> list[bytes]:
        """Return the frames to send, up to the first that the service must answer.

        Raises:
            UnfitLoginError: a frame needs a login that the client does not have, or a value that the frame cannot hold.
        """
        self._begun = True
        return [*self._early, *self._next_frames()]

    def advance(self, arrival_ns: int) -> tuple[list[bytes], bool]:
        """Complete the step that the service has answered; return the frames to send, and True if the opening is over.

        Before :meth:`begin` the frames are queued, and the result is ([], False).

        Raises:
            UnfitLoginError: see :meth:`begin`.
        """
        del self.steps[0]
        frames = self._next_frames()
        done = not self.steps or self.holds
        if self._begun:
            return frames, done
        self._early += frames
        self.greeted_ns = arrival_ns if done else None
        return [], False

    def hold(self, message: bytes, arrival_ns: int, read_ns: int) -> None:
        """Keep a message until :meth:`release`."""
        self._held.append((message, arrival_ns, read_ns))

    def release(self, receive: OnMessage) -> None:
        """End the opening and pass the held messages to ``receive``.

        If the URL itself makes a subscription, call this only after the subscription has got its id.
        """
        self.steps.clear()
        held, self._held = self._held, []
        for message in held:
            receive(*message)

    def release_known(self, receive: OnMessage, is_known: Callable[[bytes], bool]) -> None:
        """Release the held messages as `release` does, except those for which ``is_known`` is false.

        Keep holding those: the subscriptions that they belong to may not exist yet.
        """
        self.steps.clear()
        held, self._held = self._held, []
        for message in held:
            if is_known(message[0]):
                receive(*message)
            else:
                self._held.append(message)

    def _next_frames(self) -> list[bytes]:
        frames = []
        while self.steps and (frame := self.steps[0].frame) is not None:
            del self.steps[0]
            frames.append(frame.render())
        return frames
