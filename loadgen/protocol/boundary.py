"""While a session holds part of a message, stop the C code that otherwise reads the connection's messages."""

from loadgen.native import Lane


class Boundary:
    """Stops a lane (C code that reads messages) while the session in Python holds a part of a message."""

    __slots__ = ("_between", "_lane")

    def __init__(self) -> None:
        self._between = True
        self._lane: Lane | None = None

    def give(self, lane: Lane) -> None:
        """Store the lane (the C reader) that :meth:`set` stops and resumes, in place of any earlier lane."""
        self._lane = lane
        if not self._between:
            lane.hold(True)

    def set(self, between: bool) -> None:
        """Let the lane (the C reader) read if ``between`` is true, else stop it.

        The argument is true while the session is open and holds no part of a message.
        """
        if between is not self._between:
            self._between = between
            if self._lane is not None:
                self._lane.hold(not between)

    def take_owed(self) -> bytes:
        """Return the acknowledgements that the lane (the C reader) has not sent yet. Send them before any later one."""
        return b"" if self._lane is None else self._lane.take_owed()
