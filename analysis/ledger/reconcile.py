"""The ledger: what should have been delivered, set against what was.

Expected is every pair of an accepted event of the measure phase and a subscription whose channel matches and that was
present (see :mod:`analysis.ledger.windows`) when the event was sent. Each expected pair is then delivered, late, or
lost, and a loss has a class; each row that is not the first of an expected pair is counted by its reason. Expected is
counted from the presence of subscriptions, delivered from the rows, and losses one by one: that the three agree is what
:attr:`Ledger.balances` says.

Where clients cut connections, leave or unsubscribe on purpose, what they missed by that is counted one by one too and
taken off what was expected: it is reported beside the losses, not among them. So is what nobody observed since a
failure of the harness had ended the connection.
"""

from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from analysis.ledger import windows
from analysis.ledger.breakdown import Breakdown
from analysis.ledger.events import Events, events_in, expected_of, reach_of
from analysis.ledger.losses import (
    BEFORE_READY,
    IN_RECONNECT,
    MISSED_AWAY,
    MISSED_IN_GAP,
    OTHERWISE,
    UNOBSERVED,
    find_losses,
)
from analysis.ledger.matching import find_reordered, match
from analysis.ledger.windows import pattern_matches
from analysis.loading.doubts import Doubts
from analysis.loading.run import Ints, Run, Window

__all__ = ["Events", "Ledger", "Reconciled", "pattern_matches", "reconcile"]


@dataclass(frozen=True)
class Ledger:
    """Counts of the measure phase; a delivery is one event to one subscription."""

    #: Events due in the phase, and those the service accepted; None: it answers no publish, and nobody knows.
    events_due: int
    events_accepted: int | None
    expected: int
    #: Expected pairs that arrived in time.
    delivered: int
    #: Expected pairs that arrived later after their intended time than the scenario's drain.
    late: int
    #: The least and the most that can be late: the arrival of some is known as an interval only.
    late_least: int
    late_most: int
    #: Expected pairs that did not arrive, by what was going on when the event was sent: the subscription was
    #: acknowledged and not yet proven ready; its connection was lost (or about to be); neither.
    lost_before_ready: int
    lost_in_reconnect: int
    lost_otherwise: int
    #: Not expected and not lost: pairs that did not arrive since the scenario had cut the connection, or since the
    #: client had left or unsubscribed, up to when the subscription was ready again.
    missed_in_gap: int
    missed_away: int
    #: Not expected and not lost: pairs that are not on record and may have arrived, since a failure of the harness had
    #: ended the connection, up to when the subscription was ready again.
    unobserved: int
    #: Rows beyond the first of the same event and subscription.
    duplicates: int
    #: First rows of events that the service did not accept (it may deliver them all the same).
    not_acknowledged: int
    #: First rows to a subscription that was not present when the event was sent.
    outside_live_window: int
    #: First rows whose event no publisher has on record (its worker was lost).
    unrecorded: int
    #: All rows of deliveries of events that were due in the phase.
    rows: int
    #: Expected deliveries that came after a later event of the same publisher, by subscription.
    reordered: int
    #: Events of which some expected delivery is missing, and subscriptions that miss one.
    events_with_loss: int
    subscriptions_with_loss: int
    #: Whether publishers, channels and subscriptions each add up to the totals above.
    breakdown_agrees: bool = True

    @property
    def lost(self) -> int:
        """Expected pairs that did not arrive."""
        return self.lost_before_ready + self.lost_in_reconnect + self.lost_otherwise

    @property
    def delivery_ratio(self) -> float | None:
        """Delivered in time, of expected; None where nothing was expected."""
        return self.delivered / self.expected if self.expected else None

    @property
    def balances(self) -> bool:
        """Whether every expected pair and every row is accounted for exactly once."""
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
        """Return all counts, their sums and the verdict."""
        sums = {"lost": self.lost, "delivery_ratio": self.delivery_ratio, "balances": self.balances}
        return {**asdict(self), **sums}


@dataclass(frozen=True, eq=False)
class Reconciled:
    """A ledger and what it was made from. Arrays are of one length and stand for the events."""

    ledger: Ledger
    events: Events
    #: How many subscriptions each event should have reached, how many it did reach, and how many of those too late.
    expected: Ints
    arrived: Ints
    late: Ints
    #: How many were too late at least and at most: the arrival of some is known as an interval only.
    late_least: Ints
    late_most: Ints
    #: Latencies from the intended time by name of the rank (see `matching.RANKS`), over the expected deliveries that
    #: arrived; without meaning where none did.
    ranks_ns: dict[str, Ints]
    #: The same at the ends of the arrivals' intervals; the same objects where all arrivals are exact.
    ranks_low_ns: dict[str, Ints]
    ranks_high_ns: dict[str, Ints]
    #: Whether those are known: how the clocks stood is.
    ends_known: bool
    breakdown: Breakdown


@lru_cache(maxsize=1)
def reconcile(run: Run, window: Window) -> Reconciled:
    """Return the ledger of a window and what it was made from; the last one is kept, as several figures need it."""
    events, present = events_in(run, window), windows.segments(run)
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
    missed_by_event, missed_by_subscription = losses.missed
    expected -= missed_by_event
    reordered = find_reordered(run, found.expected_rows, found.places, losses.numbers)
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
