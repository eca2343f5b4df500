"""Compute the ledger: expected deliveries set against those that arrived.

Expected is every pair of an accepted event of the measure phase and a subscription whose channel matches and that was
present (see :mod:`analysis.ledger.windows`) when the event was sent. Each expected pair is delivered, late or lost, and
a loss has a class. A row that is a duplicate or does not belong to an expected pair is counted by its reason. Expected
is counted from the presence of subscriptions, delivered from the rows, and losses one by one; :attr:`Ledger.balances`
says whether the three agree. A pair is an event and a subscription; a row is one of deliveries.parquet.

Where clients cut connections, leave or unsubscribe on purpose, the deliveries that they miss are counted one by one as
well and subtracted from expected: they are reported beside the losses, not among them. The same holds for deliveries
unobserved because a failure of the harness ended the connection.
"""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from analysis.ledger import windows
from analysis.ledger.altered import find_altered
from analysis.ledger.breakdown import Breakdown
from analysis.ledger.events import Events, events_in, expected_of, reach_of
from analysis.ledger.losses import (
    BEFORE_READY,
    IN_RECONNECT,
    MISSED_AWAY,
    MISSED_IN_GAP,
    OTHERWISE,
    UNOBSERVED,
    Losses,
    find_losses,
)
from analysis.ledger.matching import Found, match
from analysis.ledger.order import find_reordered
from analysis.ledger.windows import pattern_matches
from analysis.loading.doubts import Doubts
from analysis.loading.run import Ints, Run, Window

__all__ = ["Events", "Ledger", "Reconciled", "pattern_matches", "reconcile"]


@dataclass(frozen=True)
class Ledger:
    """Counts of the measure phase; a delivery is one event to one subscription."""

    #: Events due in the phase, and those that the service accepted (None if it does not acknowledge publishes).
    events_due: int
    events_accepted: int | None
    expected: int
    #: Expected (event, subscription) pairs that arrived in time.
    delivered: int
    #: Expected pairs that arrived, but longer after their intended time than the scenario's drain time.
    late: int
    #: Least and greatest possible number of late pairs, as some arrivals are known only as intervals.
    late_least: int
    late_most: int
    #: Expected pairs that did not arrive, by the state of the subscription when the event was sent: acknowledged and
    #: not yet proven ready; its connection lost or about to be lost; neither.
    lost_before_ready: int
    lost_in_reconnect: int
    lost_otherwise: int
    #: Neither expected nor lost: pairs that did not arrive because the scenario had cut the connection
    #: (`missed_in_gap`) or the client had left or unsubscribed (`missed_away`), until the subscription was ready again.
    missed_in_gap: int
    missed_away: int
    #: Neither expected nor lost: pairs that may have arrived without being recorded because a failure of the harness
    #: had ended the connection, until the subscription was ready again.
    unobserved: int
    #: Delivery rows beyond the first of the same event and subscription.
    duplicates: int
    #: Deliveries, without duplicates, of events that the service did not accept; it may deliver them anyway.
    not_acknowledged: int
    #: Deliveries, without duplicates, to a subscription that was not present when the event was sent.
    outside_live_window: int
    #: Deliveries, without duplicates, of events that are not on record because the publisher's worker was lost.
    unrecorded: int
    #: All delivery rows of events that were due in the phase.
    rows: int
    #: Expected deliveries that arrived after a later event of the same publisher at the same subscription.
    reordered: int
    #: Events with at least one missing expected delivery, and subscriptions with at least one.
    events_with_loss: int
    subscriptions_with_loss: int
    #: Expected deliveries whose content is not what was sent, or None if the run did not check it.
    altered: int | None = None
    #: True if the counts by publisher, by channel and by subscription each add up to the totals of this ledger.
    breakdown_agrees: bool = True

    @property
    def lost(self) -> int:
        """Expected pairs that did not arrive, of all classes."""
        return self.lost_before_ready + self.lost_in_reconnect + self.lost_otherwise

    @property
    def delivery_ratio(self) -> float | None:
        """Share of expected pairs that were delivered in time, or None if none was expected."""
        return self.delivered / self.expected if self.expected else None

    @property
    def balances(self) -> bool:
        """True if every expected pair and every row is accounted for exactly once."""
        explained = (
            self.delivered
            + self.late
            + self.duplicates
            + self.not_acknowledged
            + self.outside_live_window
            + self.unrecorded
        )
        return (
            self.expected == self.delivered + self.late + self.lost
            and self.rows == explained
            and self.breakdown_agrees
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all counts with `lost`, `delivery_ratio` and `balances`."""
        sums = {"lost": self.lost, "delivery_ratio": self.delivery_ratio, "balances": self.balances}
        return {**asdict(self), **sums}


@dataclass(frozen=True, eq=False)
class Reconciled:
    """A ledger with the data behind it; the arrays have one entry for each event."""

    ledger: Ledger
    events: Events
    #: Number of subscriptions that each event should have reached, did reach, and reached late.
    expected: Ints
    arrived: Ints
    late: Ints
    #: Least and greatest possible number of late deliveries, as some arrivals are known only as intervals.
    late_least: Ints
    late_most: Ints
    #: Latencies from the intended time until an event's first, median, 99th percentile and last subscriber received it
    #: (see `ranks.RANKS`), over the expected deliveries that arrived; meaningless for events without such a
    #: delivery.
    ranks_ns: dict[str, Ints]
    #: Lowest and highest possible `ranks_ns`, as some arrivals are known only as intervals; the same objects as
    #: `ranks_ns` if all arrivals are exact.
    ranks_low_ns: dict[str, Ints]
    ranks_high_ns: dict[str, Ints]
    #: True if the intervals are known, which requires the error of every clock to be known.
    ends_known: bool
    breakdown: Breakdown


class Pairs(NamedTuple):
    """The (event, subscription) pairs of some events: those expected, those that arrived, and those that did not."""

    present: windows.Segments
    #: Number of expected deliveries of each event, without those missed on purpose or unobserved.
    expected: Ints
    #: Number of expected deliveries in each segment of `present`, including those missed on purpose or unobserved.
    expected_by_segment: Ints
    found: Found
    losses: Losses


def pairs_of(run: Run, window: Window, events: Events) -> Pairs:
    """Match the expected deliveries of events with those that arrived; ``window`` holds the events' intended times."""
    present = windows.segments(run)
    reach = reach_of(events, present)
    expected, expected_by_segment = expected_of(events, present, reach)
    found = match(run, window, events, present, reach, expected)
    losses = find_losses(
        events,
        present,
        reach,
        found.arrived,
        found.incomplete,
        expected,
        found.through,
        run.late_after_ns,
    )
    missed_by_event, _ = losses.missed
    return Pairs(present, expected - missed_by_event, expected_by_segment, found, losses)


@lru_cache(maxsize=1)
def reconcile(run: Run, window: Window) -> Reconciled:
    """Return the ledger of a window with the data behind it; the last result is cached, as several figures need it."""
    events = events_in(run, window)
    present, expected, expected_by_segment, found, losses = pairs_of(run, window, events)
    _, missed_by_subscription = losses.missed
    reordered = find_reordered(run, found.expected_rows, found.places, losses.numbers)
    altered = find_altered(run, found.expected_rows, found.places)
    breakdown = Breakdown.of(
        events,
        present,
        expected,
        expected_by_segment,
        missed_by_subscription,
        delivered=(found.arrived - found.late, found.arrived_by_subscription - found.late_by_subscription),
        late=(found.late, found.late_by_subscription),
        duplicates=found.duplicates,
        reordered=reordered,
        altered=altered,
        losses=losses,
    )
    arrived, late = int(found.arrived.sum()), int(found.late.sum())
    ledger = Ledger(
        events_due=len(events.key),
        events_accepted=int(np.count_nonzero(events.accepted)) if events.answered else None,
        expected=int(expected.sum()),
        delivered=arrived - late,
        late=late,
        late_least=int(found.late_least.sum()),
        late_most=int(found.late_most.sum()),
        lost_before_ready=losses.total(BEFORE_READY),
        lost_in_reconnect=losses.total(IN_RECONNECT),
        lost_otherwise=losses.total(OTHERWISE),
        missed_in_gap=losses.total(MISSED_IN_GAP),
        missed_away=losses.total(MISSED_AWAY),
        unobserved=losses.total(UNOBSERVED),
        duplicates=len(found.duplicates[0]),
        not_acknowledged=found.not_acknowledged,
        outside_live_window=found.outside_live_window,
        unrecorded=found.unrecorded,
        rows=found.rows,
        reordered=len(reordered[0]),
        altered=None if altered is None else len(altered[0]),
        events_with_loss=int(np.count_nonzero(found.arrived < expected)),
        subscriptions_with_loss=losses.subscriptions,
    )
    if not breakdown.agrees_with(asdict(ledger)):
        ledger = replace(ledger, breakdown_agrees=False)
    return Reconciled(
        ledger,
        events,
        expected,
        found.arrived,
        found.late,
        found.late_least,
        found.late_most,
        found.ranks_ns,
        found.ranks_low_ns,
        found.ranks_high_ns,
        Doubts(run).known,
        breakdown,
    )
