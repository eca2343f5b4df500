"""The hub that injects the configured faults and records everything it does in the journal.

The hub decides for each delivery separately whether to drop it, delay it, hold it back for reordering, or write it once
or twice. Delayed deliveries wait in a heap driven by a timer of nanosecond resolution. Frames go straight to the
socket, past uvloop's queue, so that the journal has the true time of writing. The journal is the server's own record of
all this (`loadgen.server.journal`).
"""

import asyncio
import heapq
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from loadgen.protocol.appsync import messages
from loadgen.server.faults.settings import Disconnect, Faults, Repeated, Stall
from loadgen.server.faults.wake_up import WakeUp
from loadgen.server.frames import text_header
from loadgen.server.hub import Counters, Hub, Outlet, Subscription
from loadgen.server.journal import Action, Journal, NoJournal

_HELD_AT_MOST_S: Final = 0.25
_SECOND_NS: Final = 1_000_000_000


class _Waiting(NamedTuple):
    """A delivery that is planned but not written; sorted by due time, then by the order in which they were planned."""

    due_ns: int
    turn: int
    subscription: "_Known"
    event: int
    decided_ns: int
    frame: bytes
    copies: int
    hold: bool


class _Known:
    """A subscription with the injector's state for it."""

    __slots__ = ("begun_ns", "held", "last_due_ns", "number", "outlet", "subscription")

    def __init__(self, number: int, subscription: Subscription, begun_ns: int) -> None:
        self.number = number
        self.subscription = subscription
        self.outlet = subscription.outlet
        self.begun_ns = begun_ns
        self.last_due_ns = 0
        self.held: list[_Waiting] = []


class FaultingHub(Hub):
    """A hub with faults, a journal, or both; create it in a running event loop."""

    def __init__(
        self, write_buffer_limit_bytes: int, counters: Counters, faults: Faults, journal: Journal | NoJournal
    ) -> None:
        super().__init__(write_buffer_limit_bytes, counters)
        self._limit = write_buffer_limit_bytes
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        self._known: dict[Subscription, _Known] = {}
        self._numbers, self._events, self._turns = itertools.count(), itertools.count(), itertools.count()
        #: For each connection with subscriptions: the number that identifies it, and how many subscriptions it has.
        self._connections: dict[Outlet, int] = {}
        self._subscriptions_of: Counter[Outlet] = Counter()
        self._connection_numbers = itertools.count()
        self._waiting: list[_Waiting] = []
        self._wake_up = WakeUp(self._loop, self._on_due)
        self._timers: list[asyncio.TimerHandle] = []
        self._begun = False
        self._faults = faults

        def draws(kind: str) -> random.Random:
            # Each kind of fault has a separate random generator, so that enabling one fault does not change another's
            # draws.
            return random.Random(f"{faults.seed} {kind}")

        self._drop = _chance(faults.drop_percent, draws("drop"))
        self._duplicate = _chance(faults.duplicate_percent, draws("duplicate"))
        self._reorder = _chance(faults.reorder_percent, draws("reorder"))
        self._reject = _chance(faults.reject_percent, draws("reject"))
        self._disconnecting = draws("disconnect")
        self._delay = faults.delay.sampler(draws("delay")) if faults.delay is not None else None
        self._slot_ns = 0 if faults.throttle_per_s is None else round(_SECOND_NS / faults.throttle_per_s)
        self._next_slot_ns = 0
        queue = faults.throttle_queue
        #: Time (ns) that the last delivery in a full throttle queue waits, or None if the queue has no limit.
        self._line_ns = None if queue is None else queue * self._slot_ns

    def add(self, subscription: Subscription) -> None:
        """Begin to deliver to the subscription."""
        super().add(subscription)
        outlet = subscription.outlet
        if outlet not in self._connections:
            self._connections[outlet] = next(self._connection_numbers)
        connection = self._connections[outlet]
        self._subscriptions_of[outlet] += 1
        known = _Known(next(self._numbers), subscription, time.time_ns())
        self._known[subscription] = known
        self._journal.subscription(
            known.number, connection, subscription.id, subscription.pattern, known.begun_ns, None
        )

    def remove(self, subscription: Subscription) -> None:
        """End the subscription; deliveries still held back for it are never written."""
        super().remove(subscription)
        known = self._known.pop(subscription)
        for waiting in known.held:
            self._gone(waiting)
        known.held.clear()
        connection = self._connections[known.outlet]
        self._subscriptions_of[known.outlet] -= 1
        if not self._subscriptions_of[known.outlet]:
            del self._connections[known.outlet], self._subscriptions_of[known.outlet]
        self._journal.subscription(
            known.number, connection, subscription.id, subscription.pattern, known.begun_ns, time.time_ns()
        )

    def rejects(self, channel: str, event: str) -> bool:
        """Return True to reject this event of an accepted publish."""
        if not self._reject():
            return False
        self._journal.event(next(self._events), channel, time.time_ns(), False, event)
        return True

    def publish(self, channel: str, events: Sequence[str]) -> int:
        """Decide what happens to each delivery of each event; return the number of matching subscriptions."""
        if not self._begun:
            self._begun = True
            self._schedule()
        matching = 0
        for text in events:
            event, now_ns = next(self._events), time.time_ns()
            self._journal.event(event, channel, now_ns, True, text)
            tail = messages.data_tail(text)
            matching = 0
            for group in self._index.buckets(channel):
                for subscription in group:
                    self._decide(self._known[subscription], event, tail)
                    matching += 1
        self.counters.events += len(events)
        self.counters.deliveries += matching * len(events)
        return matching

    def close(self) -> None:
        """Stop all timers; record waiting deliveries as not written."""
        for timer in self._timers:
            timer.cancel()
        self._wake_up.close()
        for waiting in self._waiting:
            self._gone(waiting)
        for known in self._known.values():
            for waiting in known.held:
                self._gone(waiting)

    # --- faults of one delivery ---

    def _decide(self, known: _Known, event: int, tail: bytes) -> None:
        decided_ns = time.time_ns()
        faults = self._faults
        if decided_ns - known.begun_ns < faults.lost_window_ns:
            self._journal.delivery(event, known.number, decided_ns, decided_ns, None, Action.LOST_WINDOW)
            return
        if self._drop():
            self._journal.delivery(event, known.number, decided_ns, decided_ns, None, Action.DROPPED)
            return
        if self._line_ns is not None and self._next_slot_ns - decided_ns > self._line_ns:
            self._journal.delivery(event, known.number, decided_ns, decided_ns, None, Action.OVERFLOWED)
            return
        due_ns = decided_ns
        if self._delay is not None:
            due_ns += self._delay()
        if not faults.overtake:
            due_ns = max(due_ns, known.last_due_ns)
        if self._slot_ns:
            due_ns = max(due_ns, self._next_slot_ns)
            self._next_slot_ns = due_ns + self._slot_ns
        known.last_due_ns = due_ns
        head = known.subscription.head
        frame = text_header(len(head) + len(tail)) + head + tail
        waiting = _Waiting(
            due_ns,
            next(self._turns),
            known,
            event,
            decided_ns,
            frame,
            2 if self._duplicate() else 1,
            self._reorder(),
        )
        if due_ns > decided_ns:
            heapq.heappush(self._waiting, waiting)
            if self._waiting[0] is waiting:
                self._wake_up.at(due_ns)
        elif self._waiting:
            # On a busy machine earlier deliveries may be overdue: write them before this one.
            heapq.heappush(self._waiting, waiting)
            self._on_due()
        else:
            self._carry_out(waiting)

    def _on_due(self) -> None:
        while self._waiting and self._waiting[0].due_ns <= time.time_ns():
            self._carry_out(heapq.heappop(self._waiting))
        if self._waiting:
            self._wake_up.at(self._waiting[0].due_ns)

    def _carry_out(self, waiting: _Waiting) -> None:
        known = waiting.subscription
        if waiting.hold:
            known.held.append(waiting)
            self._loop.call_later(_HELD_AT_MOST_S, self._release, known, waiting)
            return
        self._write(waiting, Action.SENT)
        held, known.held = known.held, []
        for each in held:
            self._write(each, Action.HELD)

    def _release(self, known: _Known, waiting: _Waiting) -> None:
        """Write a delivery held back for reordering: no other delivery overtook it within the time limit."""
        if waiting in known.held:
            known.held.remove(waiting)
            self._write(waiting, Action.HELD)

    def _write(self, waiting: _Waiting, action: Action) -> None:
        known = waiting.subscription
        if known.subscription not in self._known:
            self._gone(waiting)
            return
        for copy in range(waiting.copies):
            written_ns = time.time_ns()
            try:
                known.outlet.write_at_once(waiting.frame)
            except RuntimeError:
                self._gone(waiting)
                return
            self._journal.delivery(
                waiting.event,
                known.number,
                waiting.decided_ns,
                waiting.due_ns,
                written_ns,
                Action.DUPLICATE if copy else action,
            )
        if known.outlet.buffered_bytes() > self._limit:
            known.outlet.abort_slow_reader()

    def _gone(self, waiting: _Waiting) -> None:
        self._journal.delivery(
            waiting.event, waiting.subscription.number, waiting.decided_ns, waiting.due_ns, None, Action.GONE
        )

    # --- faults of the whole server and of connections ---

    def _schedule(self) -> None:
        for stall in self._faults.stalls:
            self._repeat(stall, partial(self._stall, stall))
        for disconnect in self._faults.disconnects:
            self._repeat(disconnect, partial(self._disconnect, disconnect))

    def _repeat(self, times: Repeated, action: Callable[[], None]) -> None:
        def fire() -> None:
            if times.every_ns is not None:
                self._timers.append(self._loop.call_later(times.every_ns / 1e9, fire))
            action()

        self._timers.append(self._loop.call_later(times.after_ns / 1e9, fire))

    def _stall(self, stall: Stall) -> None:
        """Block the event loop: nothing is read, answered or written meanwhile."""
        start_ns = time.time_ns()
        time.sleep(stall.for_ns / 1e9)
        self._journal.action("stall", start_ns, time.time_ns(), None, None)

    def _disconnect(self, disconnect: Disconnect) -> None:
        outlets = sorted(self._connections, key=self._connections.__getitem__)
        chosen = self._disconnecting.sample(outlets, round(len(outlets) * disconnect.share_percent / 100))
        for outlet in chosen:
            number, start_ns = self._connections[outlet], time.time_ns()
            outlet.disconnect(disconnect.code)
            self._journal.action("disconnect", start_ns, time.time_ns(), number, disconnect.code)


def _chance(percent: float, draws: random.Random) -> Callable[[], bool]:
    """Return a function that returns True in ``percent`` per cent of its calls, drawn at random."""
    if not percent:
        return lambda: False
    share, draw = percent / 100, draws.random
    return lambda: draw() < share
