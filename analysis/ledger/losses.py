"""Every expected delivery that did not arrive, one by one, and what its loss is called."""

from dataclasses import dataclass

import numpy as np

from analysis.ledger import windows
from analysis.ledger.events import Events, Reach
from analysis.ledger.matching import Through
from analysis.ledger.windows import Segments
from analysis.loading.run import Ints

#: Classes of what did not arrive; 0 stands for "not expected".
OTHERWISE, BEFORE_READY, IN_RECONNECT, MISSED_IN_GAP, MISSED_AWAY, UNOBSERVED = 1, 2, 3, 4, 5, 6
LOST = (BEFORE_READY, IN_RECONNECT, OTHERWISE)
#: Missed by the client's own doing, or observed by nobody since the harness failed: neither lost nor expected.
MISSED = (MISSED_IN_GAP, MISSED_AWAY, UNOBSERVED)
CLASSES = (*LOST, *MISSED)

_CLASS_OF_KIND = {
    windows.LIVE: OTHERWISE,
    windows.BEFORE_READY: BEFORE_READY,
    windows.IN_RECONNECT: IN_RECONNECT,
    windows.DROPPED: MISSED_IN_GAP,
    windows.AWAY: MISSED_AWAY,
    windows.UNOBSERVED: UNOBSERVED,
}
_CLASSES = 1 + len(CLASSES)
#: Cells of (subscription, event) looked at in one turn: bounds the memory.
_CELLS = 20_000_000


@dataclass(frozen=True)
class Losses:
    """Counts by class of deliveries that did not arrive; arrays of shape (classes, events) and (classes,
    subscriptions)."""

    by_event: Ints
    #: By position in `numbers`.
    by_subscription: Ints
    #: The subscriptions' numbers, ascending.
    numbers: Ints

    def total(self, loss: int) -> int:
        """Return how many there are of a class."""
        return int(self.by_subscription[loss].sum())

    @property
    def subscriptions(self) -> int:
        """How many subscriptions have lost something."""
        return int(np.count_nonzero(self.by_subscription[list(LOST)].sum(axis=0)))

    @property
    def missed(self) -> tuple[Ints, Ints]:
        """What was missed on purpose or observed by nobody, by event and by subscription."""
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
    """Go through the events that did not reach everybody and find whom they did not reach.

    A loss on a connection that then broke belongs to the reconnect if the event was not yet overdue at the break and
    nothing came through that connection any more that its publisher had sent after the answer to it: it was on its
    way, or would never have been. Other events may have overtaken it and prove nothing: those of another publisher,
    of the same batch, or of a request that was open at the same time. No service promises their order.
    Likewise where the client ended it: what was on its way then was missed, not lost. Where a failure of the harness
    ended it, whatever was not yet overdue may have been read and not recorded: it is unobserved.

    `arrived` counts by event; `incomplete` holds (event, subscription) of what did arrive of the events that did not
    reach everybody; `through` is what still came through in the segments that broke.
    """
    numbers, number_at = np.unique(present.subscription, return_inverse=True)
    by_event = np.zeros((_CLASSES, len(events.key)), dtype=np.int64)
    by_subscription = np.zeros((_CLASSES, len(numbers)), dtype=np.int64)
    lossy = arrived < expected
    if not lossy.any():
        return Losses(by_event, by_subscription, numbers)
    break_ns = _break_begins_ns(present, late_after_ns)
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
) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return, for each of ``width`` subscriptions and each chosen event, what its loss would be called.

    0: not expected. The chosen are in order of sending.
    """
    sent_ns, publisher = events.sent_ns[chosen], events.publisher[chosen]
    # Without an answer, only an event that was sent later, so in another batch, proves anything.
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
            # Of a failure of ours any that did not, as it may have come.
            if endings[place] == windows.UNOBSERVED:
                row[last] = of_ending
            else:
                through_ns = through.last_ns(int(members[place]), publisher[last])
                under_way = through_ns < overtaken_until_ns[last]
                row[last] = np.where(under_way, of_ending, row[last])
    return cells


def _break_begins_ns(present: Segments, late_after_ns: int | None) -> Ints:
    """Return from what sending time on an event was not yet overdue at the break at the end of each segment."""
    begins_ns = np.full(len(present), windows.FOREVER, dtype=np.int64)
    broken = present.broken
    begins_ns[broken] = present.start_ns[broken]
    if late_after_ns is not None:
        # Of a connection that had fallen silent nothing that was sent since then could come, however long ago that was.
        heard_ns = np.minimum(present.end_ns, present.heard_ns)[broken]
        begins_ns[broken] = np.maximum(begins_ns[broken], heard_ns - late_after_ns)
    return begins_ns
