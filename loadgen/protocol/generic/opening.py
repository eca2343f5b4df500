"""The opening of a connection to a described service: what is sent and what must come before it may be used."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from loadgen.protocol.generic.frames import Frame
from loadgen.protocol.generic.patterns import Pattern

OnMessage = Callable[[bytes | bytearray, int, int], None]


class Step(NamedTuple):
    """A step of the opening, with what it needs from the environment filled in: one of the two is set."""

    frame: Frame | None
    pattern: Pattern | None


#: The last step where the URL asks for the subscription: until that has its id, what comes is kept.
HOLD: Final = Step(None, None)


class Opening:
    """How far one connection's opening has come.

    The service may speak before the connection's owner has asked for :meth:`begin`: what is to be sent then, and when
    the service had answered, is kept until the owner does.
    """

    __slots__ = ("_begun", "_early", "_held", "greeted_ns", "steps")

    def __init__(self, steps: Sequence[Step]) -> None:
        #: Those that are still to be done; one list all along, since the receive path looks at it.
        self.steps = list(steps)
        self._begun = False
        self._early: list[bytes] = []
        self._held: list[tuple[bytes, int, int]] = []
        #: When the service had answered everything, where that was before :meth:`begin`.
        self.greeted_ns: int | None = None

    @property
    def expected(self) -> Pattern | None:
        """What the service must send next; None: nothing more."""
        return self.steps[0].pattern if self.steps else None

    @property
    def holds(self) -> bool:
        """Whether what comes is to be kept until the URL's subscription has its id."""
        return bool(self.steps) and self.steps[0] is HOLD

    def begin(self) -> list[bytes]:
        """Return the messages up to the first that the service must answer."""
        self._begun = True
        return [*self._early, *self._next_frames()]

    def advance(self, arrival_ns: int) -> tuple[list[bytes], bool]:
        """The service has sent what was expected; return what is to be sent now, and whether it is connected."""
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
        """The URL's subscription has its id: nothing is waited for any more, and what was kept is received."""
        self.steps.clear()
        held, self._held = self._held, []
        for message in held:
            receive(*message)

    def _next_frames(self) -> list[bytes]:
        frames = []
        while self.steps and (frame := self.steps[0].frame) is not None:
            del self.steps[0]
            frames.append(frame.render())
        return frames
