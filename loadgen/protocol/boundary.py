"""Stop the native code that reads a connection's messages while the session holds part of a message."""

from loadgen.native import Lane


class Boundary:
    """Stops a native lane while the session holds part of a message: the lane has not seen the bytes of that part."""

    __slots__ = ("_between", "_lane")

    def __init__(self) -> None:
        self._between = True
        self._lane: Lane | None = None

    def give(self, lane: Lane) -> None:
        """Store the native lane that :meth:`set` stops and resumes; it replaces any earlier lane."""
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
