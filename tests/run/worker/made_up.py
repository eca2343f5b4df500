"""A simulated clock and a simulated line to the master, for tests of a worker."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import gevent
from gevent.event import Event

from loadgen.measure.clock import Reading
from loadgen.measure.publishes import Events
from loadgen.measure.sinks import Values
from loadgen.run import messages
from loadgen.run.messages import Message
from loadgen.run.worker.clock import Clock

SECOND = 1_000_000_000
_M = TypeVar("_M", bound=Message)


def settle() -> None:
    """Let all greenlets run until each waits for a time or a message."""
    for _ in range(20):
        gevent.sleep(0)


class MadeUpClock(Clock):
    """Simulated time, which passes only in :meth:`go_on`, from one alarm to the next."""

    def __init__(self) -> None:
        self.at_ns = 1_000 * SECOND
        self.closed = False
        self._alarms: list[tuple[int, int, Event]] = []
        self._numbers = itertools.count()

    def now_ns(self) -> int:
        return self.at_ns

    def steady_ns(self) -> int:
        return self.at_ns

    def read(self) -> Reading:
        return Reading(self.at_ns, self.at_ns - 5 * SECOND)

    def _alarm(self, seconds: float) -> Event:
        alarm = Event()
        due_ns = self.at_ns + max(1, round(seconds * SECOND))
        heapq.heappush(self._alarms, (due_ns, next(self._numbers), alarm))
        return alarm

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._alarm(seconds).wait()
        else:
            gevent.sleep(0)

    def wait(self, event: Event, timeout_s: float) -> None:
        if not event.is_set():
            gevent.wait([event, self._alarm(timeout_s)], count=1)

    def wait_until(self, due_ns: int) -> None:
        assert not self.closed
        if due_ns > self.at_ns:
            self._alarm((due_ns - self.at_ns) / SECOND).wait()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        alarm = self._alarm(seconds)

        def later() -> None:
            alarm.wait()
            action()

        gevent.spawn(later)

    def close(self) -> None:
        self.closed = True

    def go_on(self, seconds: float) -> None:
        """Let time pass; a greenlet that waits for a moment within it continues at that moment."""
        until_ns = self.at_ns + round(seconds * SECOND)
        settle()
        while self._alarms and self._alarms[0][0] <= until_ns:
            due_ns, _, alarm = heapq.heappop(self._alarms)
            self.at_ns = max(self.at_ns, due_ns)
            alarm.set()
            settle()
        self.at_ns = until_ns
        settle()


class MadeUpLine:
    """Keeps the messages that a worker sends to its master, checked as the master would."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def to_coordinator(self, message: Message) -> None:
        self.sent.append(messages.checked(message))

    def to_agents(self, message: Message, worker_id: str | None = None) -> None:
        raise AssertionError(message)

    def all(self, kind: type[_M]) -> list[_M]:
        return [message for message in self.sent if isinstance(message, kind)]

    def last(self, kind: type[_M]) -> _M:
        return self.all(kind)[-1]


class MadeUpStatistics:
    """Stands in for Locust's statistics."""

    def __init__(self) -> None:
        self.added = self.published = 0

    def add(self, subscriptions: Values, latencies_ns: Values) -> None:
        self.added += len(latencies_ns)

    def show_deliveries(self, at_ns: int) -> dict[str, int]:
        return {"readers": self.added}

    def show_publishes(self, events: Events, answered_ns: Values, at_ns: int) -> None:
        self.published += len(events)


def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function at once in this thread, in place of code that calls it in another thread."""
    return function(*arguments)
