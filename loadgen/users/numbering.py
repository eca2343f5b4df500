"""The numbers of one client's publish requests and events."""


class Numbers:
    """Numbers all publish requests of one client and their events: scheduled ones, and replies to deliveries."""

    __slots__ = ("_events", "_requests")

    def __init__(self) -> None:
        self._requests = self._events = 0

    def next(self, events: int) -> tuple[int, range]:
        """Return the number of the next request and the numbers of its events, of which there are ``events``."""
        number, first = self._requests, self._events
        self._requests, self._events = number + 1, first + events
        return number, range(first, self._events)
