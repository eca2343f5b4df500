"""Find and classify every expected delivery that did not arrive.

A segment is a stretch of time in which one subscription was in one state, such as ready or in reconnect (see
`analysis.ledger.windows`).
"""

from dataclasses import dataclass

import numpy as np

from analysis.ledger import windows
from analysis.ledger.events import Events, Reach
from analysis.ledger.matching import Through
from analysis.ledger.windows import Segments
from analysis.loading.run import Ints

#: Classes of deliveries that did not arrive; 0 means "not expected".
OTHERWISE, BEFORE_READY, IN_RECONNECT, MISSED_IN_GAP, MISSED_AWAY, UNOBSERVED = 1, 2, 3, 4, 5, 6
LOST = (BEFORE_READY, IN_RECONNECT, OTHERWISE)
#: Classes that count neither as lost nor as expected: deliveries that the client missed on purpose, or that a failure
#: of the harness left unobserved.
MISSED = (MISSED_IN_GAP, MISSED_AWAY, UNOBSERVED)
CLASSES = (*LOST, *MISSED)

_CLASS_OF_KIND = {
    windows.READY: OTHERWISE,
    windows.BEFORE_READY: BEFORE_READY,
    windows.IN_RECONNECT: IN_RECONNECT,
    windows.DROPPED: MISSED_IN_GAP,
    windows.AWAY: MISSED_AWAY,
    windows.UNOBSERVED: UNOBSERVED,
}
_CLASSES = 1 + len(CLASSES)
Cells = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
#: Largest number of (subscription, event) cells processed at once, which bounds memory.
_CELLS = 20_000_000


@dataclass(frozen=True)
class Losses:
    """Deliveries that did not arrive, counted by class.

    The arrays have shape (classes, events) and (classes, subscriptions).
    """

    by_event: Ints
    #: Losses by class and subscription: column i belongs to the subscription `numbers[i]`.
    by_subscription: Ints
    #: Subscription numbers in ascending order.
    numbers: Ints

    def total(self, loss: int) -> int:
        """Return the number of deliveries in the class of losses with the index ``loss``."""
        return int(self.by_subscription[loss].sum())

    @property
    def subscriptions(self) -> int:
        """Number of subscriptions with a loss."""
        return int(np.count_nonzero(self.by_subscription[list(LOST)].sum(axis=0)))

    @property
    def missed(self) -> tuple[Ints, Ints]:
        """Deliveries missed on purpose or unobserved, counted by event and by subscription."""
        classes = list(MISSED)
        return self.by_event[classes].sum(axis=0), self.by_subscription[classes].sum(axis=0)


def find_losses(
    events: Events,
    present: Segments,
    reach: Reach,
    arrived: Ints,
    incomplete: tuple[Ints, Ints],
    expected: Ints,
    through: Through,
    late_after_ns: int | None,
) -> Losses:
    """Find and classify the missing deliveries of all events that did not reach every expected subscription.

    When a connection broke, a loss is attributed to the reconnect if the event was possibly still under way: it was not
    yet overdue at the break, and the connection had not delivered any event that the same publisher sent after the
    acknowledgement of this event. Only such a later event proves a loss before the break. Events of another publisher,
    of the same batch, or of a request open at the same time may overtake the lost event, because services do not
    guarantee their order. If the client ended the connection, the same rule makes the event missed, not lost. If a
    failure of the harness ended the connection, any event not yet overdue is unobserved, because it may have been read
    without being recorded.

    An event for a group that shares its subscription may have been under way to any member whose connection broke. If
    the members' connections ended for different reasons, unobserved takes precedence over lost, and lost over missed.

    ``expected`` has the number of subscriptions that should have received each event, ``arrived`` the number that did.
    ``incomplete`` holds the deliveries that arrived, as (event, subscription) pairs, of the events that did not reach
    every subscription. ``through`` holds, for each segment that ended with a broken connection, the last event of each
    publisher that arrived in it. A delivery is late ``late_after_ns`` after its intended time, or never if that is
    None.
    """
    numbers, number_at = np.unique(present.subscription, return_inverse=True)
    # This array of zeros takes no memory, because it is a broadcast. It is copied only if a delivery is missing.
    by_event = np.broadcast_to(np.int64(0), (_CLASSES, len(events.key)))
    by_subscription = np.zeros((_CLASSES, len(numbers)), dtype=np.int64)
    lossy = arrived < expected
    if not lossy.any():
        return Losses(by_event, by_subscription, numbers)
    by_event = by_event.copy()
    break_ns = _break_begins_ns(present, late_after_ns)
    breaks = _Breaks.of(present, late_after_ns)
    order = np.argsort(incomplete[0], kind="stable")
    sorted_event, sorted_subscription = incomplete[0][order], incomplete[1][order]
    for rows, members in reach.values():
        affected = rows[lossy[rows]]
        if not len(affected):
            continue
        local, column = np.unique(number_at[members], return_inverse=True)
        turn = max(1, _CELLS // max(1, len(local)))
        for begin in range(0, len(affected), turn):
            chosen = affected[begin : begin + turn]
            cells = _classes(events, chosen, present, members, column, len(local), break_ns, through)
            if breaks is not None:
                breaks.mark(cells, events, chosen, numbers[local], through)
            for place, event in enumerate(chosen.tolist()):
                low, high = np.searchsorted(sorted_event, [event, event + 1])
                reached = np.searchsorted(numbers, sorted_subscription[low:high])
                cells[np.searchsorted(local, reached), place] = 0
            for loss in CLASSES:
                missing = cells == loss
                by_event[loss][chosen] += missing.sum(axis=0)
                by_subscription[loss][local] += missing.sum(axis=1)
    return Losses(by_event, by_subscription, numbers)


def _classes(
    events: Events,
    chosen: Ints,
    present: Segments,
    members: Ints,
    column: Ints,
    width: int,
    break_ns: Ints,
    through: Through,
) -> Cells:
    """Return the class of loss that each chosen event has at each receiver, if the receiver did not receive it.

    The result has ``width`` rows (receivers) and a column for each event. The class is 0 if the delivery is not
    expected. The chosen events must be in order of sending.
    """
    sent_ns, publisher = events.sent_ns[chosen], events.publisher[chosen]
    # An event was overtaken if its publisher sent another event after the event's acknowledgement, and that other event
    # arrived. For an event that was never acknowledged, any event that was sent later (so in another batch) counts.
    acked_ns = events.acked_ns[chosen]
    overtaken_until_ns = np.where(acked_ns >= 0, acked_ns, sent_ns + 1)
    cells = np.zeros((width, len(sent_ns)), dtype=np.uint8)
    begins = np.searchsorted(sent_ns, present.start_ns[members], side="left")
    breaks = np.searchsorted(sent_ns, np.minimum(break_ns[members], present.end_ns[members]), side="left")
    ends = np.searchsorted(sent_ns, present.end_ns[members], side="left")
    kinds, endings = present.kind[members], present.ending[members]
    for place in np.flatnonzero(begins < ends).tolist():
        row = cells[column[place]]
        row[begins[place] : ends[place]] = _CLASS_OF_KIND[int(kinds[place])]
        last = slice(max(begins[place], breaks[place]), ends[place])
        if endings[place] and last.start < last.stop:
            of_ending = _CLASS_OF_KIND[int(endings[place])]
            # After a harness failure every missing event is unobserved: it may have arrived.
            if endings[place] == windows.UNOBSERVED:
                row[last] = of_ending
            else:
                through_ns = through.last_ns(int(members[place]), publisher[last])
                under_way = through_ns < overtaken_until_ns[last]
                row[last] = np.where(under_way, of_ending, row[last])
    return cells


@dataclass(frozen=True)
class _Breaks:
    """The broken connections of shared subscriptions' members, in the order that `mark` needs."""

    #: For each segment that a broken connection ended: its index in `Through`, the number of its receiver (all members
    #: of the shared subscription), the sending times from `begin_ns` to `end_ns` of the events that may have been under
    #: way when the connection broke, and the loss class of these events.
    index: Ints
    receiver: Ints
    begin_ns: Ints
    end_ns: Ints
    loss: Ints

    @classmethod
    def of(cls, present: Segments, late_after_ns: int | None) -> "_Breaks | None":
        """Return the broken connections of members of shared subscriptions, or None if no subscription is shared."""
        members = present.members
        if members is None:
            return None
        broken = np.flatnonzero(members.broken)
        loss = np.array([_CLASS_OF_KIND[kind] for kind in members.ending[broken].tolist()], dtype=np.int64)
        # `mark` writes the classes in this order, and later ones replace earlier ones. So the class that takes
        # precedence (see `_MARKED`) comes last.
        order = np.argsort([_MARKED.index(each) for each in loss.tolist()], kind="stable").astype(np.int64)
        broken, loss = broken[order], loss[order]
        return cls(
            len(present) + broken,
            present.receivers.of(members.subscription[broken]),
            _break_begins_ns(members, late_after_ns)[broken],
            members.end_ns[broken],
            loss,
        )

    def mark(self, cells: Cells, events: Events, chosen: Ints, receivers: Ints, through: Through) -> None:
        """Write loss classes into ``cells``, which has a row for each of ``receivers`` and a column for each event.

        Only events that may have been under way when a member's connection broke get a class here.
        """
        sent_ns, publisher = events.sent_ns[chosen], events.publisher[chosen]
        acked_ns = events.acked_ns[chosen]
        overtaken_until_ns = np.where(acked_ns >= 0, acked_ns, sent_ns + 1)
        begins = np.searchsorted(sent_ns, self.begin_ns, side="left")
        ends = np.searchsorted(sent_ns, self.end_ns, side="left")
        row_of = {number: row for row, number in enumerate(receivers.tolist())}
        for place in np.flatnonzero(begins < ends).tolist():
            number = row_of.get(int(self.receiver[place]))
            if number is None:
                continue
            last = slice(begins[place], ends[place])
            row = cells[number][last]
            under_way = row > 0
            if self.loss[place] != UNOBSERVED:
                through_ns = through.last_ns(int(self.index[place]), publisher[last])
                under_way &= through_ns < overtaken_until_ns[last]
            row[under_way] = self.loss[place]


#: Loss classes for broken connections of a shared subscription's members, in ascending order of precedence.
_MARKED = (MISSED_AWAY, MISSED_IN_GAP, IN_RECONNECT, UNOBSERVED)


def _break_begins_ns(present: Segments, late_after_ns: int | None) -> Ints:
    """Return for each segment the first sending time (ns) of events that were not yet late when the connection broke.

    The time is FOREVER for a segment that did not end with a broken connection.
    """
    begins_ns = np.full(len(present), windows.FOREVER, dtype=np.int64)
    broken = present.broken
    begins_ns[broken] = present.start_ns[broken]
    if late_after_ns is not None:
        # A connection counts as broken from its last sign of life on, even if it was closed much later.
        heard_ns = np.minimum(present.end_ns, present.heard_ns)[broken]
        begins_ns[broken] = np.maximum(begins_ns[broken], heard_ns - late_after_ns)
    return begins_ns
