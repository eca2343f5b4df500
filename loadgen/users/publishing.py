"""Publish on an open-loop schedule: each publish is due at its scheduled time, even if the one before is unanswered.

`OpenLoopPublisher` decides the time of each publish request, `PublishRequests` makes and records the request, and a
`Sender` sends it.
"""

import gevent
from gevent.event import Event

from loadgen.measure.clock import now_ns
from loadgen.resolve import ClientPlan
from loadgen.resolve.rows import RequestDraw
from loadgen.users.code import UserCode
from loadgen.users.numbering import Numbers
from loadgen.users.requests import NO_ROWS, PublishRequests
from loadgen.users.senders import Sender
from loadgen.users.worker import Timeline, WorkerRun

#: Maximum number of overdue requests that one client sends in a row before it yields to the gevent hub.
_LATE_IN_A_ROW = 64
#: The event loop's highest priority.
_FIRST = 2


class OpenLoopPublisher:
    """Runs one client's schedule.

    ``in_flight`` is the number of request slots: the maximum number of requests that may be unanswered at once (0 for
    no limit). If all slots are taken, the next request waits until one is free. ``numbers`` numbers the client's
    requests and events.
    """

    def __init__(
        self,
        run: WorkerRun,
        client: ClientPlan,
        sender: Sender,
        in_flight: int,
        code: UserCode,
        numbers: Numbers | None = None,
    ) -> None:
        assert client.publish is not None
        self._run = run
        self._plan = client.publish
        self._in_flight = in_flight
        self._slot_free = Event()
        self._draw = self._plan.channels()
        rows = self._draw.rows if isinstance(self._draw, RequestDraw) else NO_ROWS
        self._requests = PublishRequests(run, client, sender, code, self._slot_free.set, rows)
        self._requests.awaited = bool(in_flight)
        self._numbers = Numbers() if numbers is None else numbers

    def limit(self, events: int) -> None:
        """Limit the events that are unanswered at once to the service's limit; 0 means that it has none.

        A request with more events than the limit is sent in parts (see the protocol's session).
        """
        if events:
            self._in_flight = max(1, events // self._plan.batch)
            self._requests.awaited = True

    def publish_all(self, timeline: Timeline) -> None:
        """Publish from the start of the warm-up to the end of the measure phase, then return."""
        run, in_flight = self._run, self._in_flight
        free_ns = late_in_a_row = 0
        for offset_ns in self._plan.offsets_ns():
            intended_ns = timeline.warmup_ns + offset_ns
            if run.local_ns(intended_ns) > now_ns():
                if run.publishing_over:
                    return
                run.wait_until(intended_ns)
                late_in_a_row = 0
            elif (late_in_a_row := late_in_a_row + 1) == _LATE_IN_A_ROW:
                # In a burst or behind schedule, let the gevent hub read answers. `sleep(0)` would return fifty times
                # before the hub polls its sockets; `idle` at the highest priority returns after one such poll.
                gevent.idle(_FIRST)
                late_in_a_row = 0
            if in_flight and self._requests.unanswered >= in_flight and not run.publishing_over:
                self._wait_for_slot()
                free_ns = now_ns()
            channel = self._draw.next()
            number, sequences = self._numbers.next(self._plan.batch)
            if run.publishing_over:
                self._requests.too_late(number, sequences, channel, intended_ns)
                continue
            # The wait until this time is the target's fault: it has not answered, so no slot was free. Any later delay
            # is the generator's.
            slot_ns = max(run.local_ns(intended_ns), free_ns)
            self._requests.publish(number, sequences, channel, intended_ns, slot_ns)

    def give_up(self) -> None:
        """Record the requests without an answer as unanswered, or as errors if never sent; call after the drain."""
        self._requests.give_up()

    def _wait_for_slot(self) -> None:
        while self._requests.unanswered >= self._in_flight:
            self._slot_free.clear()
            self._slot_free.wait()
