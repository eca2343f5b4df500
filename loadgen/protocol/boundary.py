"""Where a session is in its stream: between two messages, or within one whose beginning it holds."""

from loadgen.native import Lane


class Boundary:
    """Holds a lane back while its session holds the beginning of a message, which the lane would not know."""

    __slots__ = ("_between", "_lane")

    def __init__(self) -> None:
        self._between = True
        self._lane: Lane | None = None

    def give(self, lane: Lane) -> None:
        """Hold back this lane from now on, in place of the last one."""
        self._lane = lane
        if not self._between:
            lane.hold(True)

    def set(self, between: bool) -> None:
        """Note after each processed read whether the session is between two messages and goes on."""
        if between is not self._between:
            self._between = between
            if self._lane is not None:
                self._lane.hold(not between)

    def take_owed(self) -> bytes:
        """Return what the lane owes the service for earlier messages; send it before any later acknowledgement."""
        return b"" if self._lane is None else self._lane.take_owed()
