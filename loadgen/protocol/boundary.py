"""Tell a lane that reads the same stream whether its session is between two messages or has a part of one."""

from loadgen.native import Lane


class Boundary:
    """Stops a native lane while its session has only a part of a message: the lane has not seen those bytes."""

    __slots__ = ("_between", "_lane")

    def __init__(self) -> None:
        self._between = True
        self._lane: Lane | None = None

    def give(self, lane: Lane) -> None:
        """From now on, stop and resume this lane instead of the last one."""
        self._lane = lane
        if not self._between:
            lane.hold(True)

    def set(self, between: bool) -> None:
        """Tell the lane whether the session, after a processed read, is between two messages and still open."""
        if between is not self._between:
            self._between = between
            if self._lane is not None:
                self._lane.hold(not between)

    def take_owed(self) -> bytes:
        """Return the acknowledgements that the lane still has to send; send them before any later acknowledgement."""
        return b"" if self._lane is None else self._lane.take_owed()
