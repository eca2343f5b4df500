"""The numbers of one client's publish requests and events."""


class Numbers:
    """Numbers one client's publish requests and events, both those of its schedule and those that a delivery causes."""

    __slots__ = ("_events", "_requests")

    def __init__(self) -> None:
        self._requests = self._events = 0

    def next(self, events: int) -> tuple[int, range]:
        """Return the number of the next request, and those of its events."""
        number, first = self._requests, self._events
        self._requests, self._events = number + 1, first + events
        return number, range(first, self._events)
