"""Compute the ledger: expected deliveries set against those that arrived.

A pair is an event and a subscription; a row is one of deliveries.parquet. A pair is expected if the event belongs to
the measure phase and was accepted, if the subscription matches the event's channel, and if the subscription was present
(see :mod:`analysis.ledger.windows`) when the event was sent. Each expected pair is delivered, late or lost, and a loss
has a class. A row that is a duplicate or does not belong to an expected pair is counted by its reason.

Expected pairs are counted from the presence of subscriptions, delivered ones from the rows, and losses one by one;
:attr:`Ledger.balances` says whether the three agree. Subscriptions that share their events count as one (see
`analysis.ledger.receivers`).

Deliveries that clients miss because they cut connections, leave or unsubscribe on purpose are also counted one by one.
They are subtracted from the expected ones and reported separately from the losses. Deliveries that are unobserved,
because a failure of the harness ended the connection, are treated in the same way.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from analysis.ledger import windows
from analysis.ledger.altered import find_altered
from analysis.ledger.breakdown import (
    ALTERED,
    COUNTS,
    LOST_COUNTS,
    MISSED_COUNTS,
    Breakdown,
    Sums,
    by_number,
)
from analysis.ledger.events import Events, channels_of, events_in, expected_of, reach_of
from analysis.ledger.losses import Losses, find_losses
from analysis.ledger.marks import Marks
from analysis.ledger.matching import Found, Through, match
from analysis.ledger.order import Deliveries, find_reordered
from analysis.ledger.parts import HIGH, LOW, Part, Parts
from analysis.ledger.windows import pattern_matches
from analysis.loading.doubts import Doubts
from analysis.loading.lookup import EventPlaces
from analysis.loading.run import Ints, Run, Window
from analysis.loading.slices import stretches

_NONE = np.empty(0, dtype=np.int64)
#: Figures of the ledger that are the sums of the figures of all stretches of time.
_SUMMED = (
    "events_due", "expected", "delivered", "late", "late_least", "late_most", "duplicates", "not_acknowledged",
    "outside_live_window", "unrecorded", "rows", "reordered", "events_with_loss",
)  # fmt: skip

__all__ = ["Events", "Ledger", "Reconciled", "pattern_matches", "reconcile"]


@dataclass(frozen=True)
class Ledger:
    """Counts of the measure phase; a delivery is one event to one subscription."""

    #: Events due in the phase. `events_accepted` counts those that the service accepted, or is None if it does not
    #: acknowledge publishes.
    events_due: int
    events_accepted: int | None
    expected: int
    #: Expected (event, subscription) pairs that arrived in time.
    delivered: int
    #: Expected pairs that arrived, but longer after their intended time than the scenario's drain time.
    late: int
    #: Least and greatest possible `late`, because some arrival times are only known to lie in an interval.
    late_least: int
    late_most: int
    #: Expected pairs that did not arrive, by the state of the subscription when the event was sent. In
    #: `lost_before_ready` it was acknowledged and not yet proven ready; in `lost_in_reconnect` its connection was lost
    #: or about to be lost; in `lost_otherwise` it was in neither of these states.
    lost_before_ready: int
    lost_in_reconnect: int
    lost_otherwise: int
    #: Pairs that did not arrive and count as neither expected nor lost, because the subscription was away on purpose
    #: and not ready again yet: the scenario had cut the connection (`missed_in_gap`), or the client had left or
    #: unsubscribed (`missed_away`).
    missed_in_gap: int
    missed_away: int
    #: Pairs that count as neither expected nor lost, because they may have arrived without being recorded: a failure of
    #: the harness had ended the connection, and the subscription was not ready again yet.
    unobserved: int
    #: Delivery rows beyond the first of the same event and subscription.
    duplicates: int
    #: Deliveries, without duplicates, of events that the service did not accept. A service may deliver such events
    #: anyway.
    not_acknowledged: int
    #: Deliveries, without duplicates, to a subscription that was not present when the event was sent.
    outside_live_window: int
    #: Deliveries, without duplicates, of events that are not on record because the publisher's worker was lost.
    unrecorded: int
    #: All delivery rows of events that were due in the measure phase.
    rows: int
    #: Expected deliveries that arrived after a later event of the same publisher at the same subscription.
    reordered: int
    #: Events with at least one missing expected delivery. `subscriptions_with_loss` counts subscriptions likewise.
    events_with_loss: int
    subscriptions_with_loss: int
    #: Expected deliveries whose content differs from what was sent, or None if the run did not check contents.
    altered: int | None = None
    #: True if the counts by publisher, by channel and by subscription each add up to the totals of this ledger.
    breakdown_agrees: bool = True

    @property
    def lost(self) -> int:
        """Expected deliveries (pairs of event and subscription) that never arrived: the sum of the kinds of loss."""
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
        """Return all counts, and the computed values `lost`, `delivery_ratio` and `balances`."""
        sums = {"lost": self.lost, "delivery_ratio": self.delivery_ratio, "balances": self.balances}
        return {**asdict(self), **sums}


@dataclass(frozen=True, eq=False)
class Reconciled:
    """A ledger with the data behind it."""

    ledger: Ledger
    #: All events with the outcome of each, in parts: the events of a long run do not fit into memory at once.
    parts: Parts
    #: Name of the channel that each code stands for.
    channels: list[str | None]
    #: True if the service acknowledges publishes, so that it is known which events it accepted.
    answered: bool
    #: True if it is known how far each uncertain latency may be off, which requires the error of every clock to be
    #: known.
    ends_known: bool
    breakdown: Breakdown

    @cached_property
    def whole(self) -> Part:
        """All parts as one, for runs whose events fit into memory."""
        return Part.joined(self.parts)


class Pairs(NamedTuple):
    """The (event, subscription) pairs of some events: those expected, those that arrived, and those that did not."""

    present: windows.Segments
    #: Number of expected deliveries of each event, without those missed on purpose or unobserved.
    expected: Ints
    #: Number of expected deliveries in each segment of `present` (a time in which a subscription was present),
    #: including those missed on purpose or unobserved.
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
    """Return the ledger of a time window with its data; the last result is cached, as several figures need it."""
    return _Book(run, window).settled()


class _Book:
    """Computes the ledger of a time window, one stretch after the other.

    Two facts are known only after all stretches were matched: which rows are reordered, and which events a connection
    delivered before it broke. So the losses are classified in a second pass over the events.
    """

    def __init__(self, run: Run, window: Window) -> None:
        self._run, self._window = run, window
        self._present = windows.segments(run)
        self._numbers = np.unique(self._present.subscription)
        self._marks = Marks(run.row_groups)
        self._cut = stretches(run, window)
        self._parts = Parts(len(self._cut) > 1)
        self._through: list[Through] = []
        #: The ledger's counts by name: in `_total` for all subscriptions together, in `_person` for each subscription
        #: in the order of `_numbers`.
        self._total: Counter[str] = Counter()
        self._person = dict.fromkeys(COUNTS, np.zeros(len(self._numbers), dtype=np.int64))

    def settled(self) -> Reconciled:
        """Compute the ledger of the whole time window."""
        run = self._run
        channels = channels_of(run, self._window, self._cut)
        senders, answered = [_NONE], True
        for stretch in self._cut:
            events = events_in(run, stretch, channels)
            answered &= events.answered
            senders.append(np.unique(events.publisher))
            self._match(stretch, events)
            if len(self._cut) == 1:
                channels = events.channels
        through = Through.joined(self._through)
        publishers = np.unique(np.concatenate(senders))
        odd = {"reordered": find_reordered(run, self._marks, publishers, self._present.people)}
        altered = find_altered(run, self._marks)
        if altered is not None:
            odd[ALTERED] = altered
        for name, found in odd.items():
            self._total[name] = len(found.publisher)
            self._add_person(name, self._present.receivers.of(found.subscription))
        sums = Sums()
        for place in range(len(self._parts)):
            self._classify(place, through, odd, sums)
        breakdown = Breakdown(
            {
                "publisher": sums.publishers(),
                "channel": sums.channels(),
                "subscription": by_number(self._numbers, self._person),
            },
            self._total["duplicates_unrecorded"],
            self._total["duplicates_elsewhere"],
        )
        ledger = self._ledger(answered, altered is not None)
        if not breakdown.agrees_with(asdict(ledger)):
            ledger = replace(ledger, breakdown_agrees=False)
        return Reconciled(ledger, self._parts, channels or [], answered, Doubts(run).known, breakdown)

    def _match(self, stretch: Window, events: Events) -> None:
        """Match the events of one stretch of time with the deliveries that they should cause."""
        run, present = self._run, self._present
        reach = reach_of(events, present)
        expected, by_segment = expected_of(events, present, reach)
        found = match(run, stretch, events, present, reach, expected, self._marks)
        self._through.append(found.through)
        place = np.searchsorted(self._numbers, present.subscription)
        count = len(self._numbers)
        self._person["expected"] = self._person["expected"] + np.bincount(
            place, weights=by_segment, minlength=count
        ).astype(np.int64)
        self._person["delivered"] = self._person["delivered"] + (
            found.arrived_by_subscription - found.late_by_subscription
        )
        self._person["late"] = self._person["late"] + found.late_by_subscription
        self._add_person("duplicates", found.duplicates[1])
        self._total.update(
            rows=found.rows,
            not_acknowledged=found.not_acknowledged,
            outside_live_window=found.outside_live_window,
            unrecorded=found.unrecorded,
            duplicates=len(found.duplicates[0]),
            duplicates_unrecorded=int(np.count_nonzero(found.duplicates[0] < 0)),
            duplicates_elsewhere=int(np.count_nonzero(~np.isin(found.duplicates[1], self._numbers))),
        )
        again = found.duplicates[0]
        arrays = {
            "expected": expected,
            "arrived": found.arrived,
            "late": found.late,
            "duplicates": np.bincount(again[again >= 0], minlength=len(expected)),
            "incomplete_event": found.incomplete[0],
            "incomplete_subscription": found.incomplete[1],
            **found.ranks_ns,
        }
        if not found.exact:
            arrays |= {"late_least": found.late_least, "late_most": found.late_most}
            arrays |= {name + LOW: values for name, values in found.ranks_low_ns.items()}
            arrays |= {name + HIGH: values for name, values in found.ranks_high_ns.items()}
        self._parts.add(events, arrays)

    def _classify(self, place: int, through: Through, odd: Mapping[str, Deliveries], sums: Sums) -> None:
        """Classify the losses among the events of the part (stretch of time) numbered ``place``; add up its counts."""
        events, arrays = self._parts[place]
        expected, arrived, late = (arrays[name] for name in ("expected", "arrived", "late"))
        losses = find_losses(
            events,
            self._present,
            reach_of(events, self._present) if (arrived < expected).any() else {},
            arrived,
            (arrays["incomplete_event"], arrays["incomplete_subscription"]),
            expected,
            through,
            self._run.late_after_ns,
        )
        missed_by_event, missed_by_subscription = losses.missed
        if missed_by_event.any():
            expected = expected - missed_by_event
            self._parts.put(place, "expected", expected)
            self._person["expected"] = self._person["expected"] - missed_by_subscription
        counts = {"expected": expected, "delivered": arrived - late, "late": late}
        places = EventPlaces(events.key)
        for name, found in odd.items():
            event = places.of(found.publisher, found.sequence)
            counts[name] = np.bincount(event[event >= 0], minlength=len(events.key))
        counts["duplicates"] = arrays["duplicates"]
        for name, loss in (LOST_COUNTS | MISSED_COUNTS).items():
            counts[name] = losses.by_event[loss]
            self._person[name] = self._person[name] + losses.by_subscription[loss]
        sums.add(events, counts)
        least, most = (arrays.get(name, late) for name in ("late_least", "late_most"))
        self._total.update(
            events_due=len(events.key),
            events_accepted=int(np.count_nonzero(events.accepted)),
            expected=int(expected.sum()),
            delivered=int(arrived.sum()) - int(late.sum()),
            late=int(late.sum()),
            late_least=int(least.sum()),
            late_most=int(most.sum()),
            events_with_loss=int(np.count_nonzero(arrived < expected)),
        )

    def _add_person(self, name: str, subscription: Ints) -> None:
        """Add to the count ``name`` of each subscription its number of deliveries.

        ``subscription`` has one entry for each delivery.
        """
        place = np.searchsorted(self._numbers, subscription)
        known = np.isin(subscription, self._numbers)
        count = np.bincount(place[known], minlength=len(self._numbers))
        self._person[name] = self._person.get(name, np.zeros(len(self._numbers), dtype=np.int64)) + count

    def _ledger(self, answered: bool, checked: bool) -> Ledger:
        total: dict[str, Any] = {name: self._total[name] for name in _SUMMED}
        lost: dict[str, Any] = {name: int(self._person[name].sum()) for name in LOST_COUNTS | MISSED_COUNTS}
        return Ledger(
            **total,
            **lost,
            events_accepted=self._total["events_accepted"] if answered else None,
            altered=self._total[ALTERED] if checked else None,
            subscriptions_with_loss=int(
                np.count_nonzero(
                    sum((self._person[name] for name in LOST_COUNTS), np.zeros(len(self._numbers)))
                )
            ),
        )
