"""The ledger: what should have been delivered, set against what was.

Expected is every pair of an accepted event of the measure phase and a subscription whose channel matches and that was
present (see :mod:`analysis.presence`) when the event was sent. Each expected pair is then delivered, late, or lost, and
a loss has a class; each row that is not the first of an expected pair is counted by its reason. Expected is counted
from the presence of subscriptions, delivered from the rows, and losses one by one: that the three agree is what
:attr:`Ledger.balances` says.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from analysis import presence
from analysis.breakdown import Breakdown
from analysis.losses import BEFORE_READY, IN_RECONNECT, OTHERWISE, find_losses
from analysis.presence import Flags, Segments, matching_patterns, pattern_matches
from analysis.run import Ints, Run, Window, codes, ints

__all__ = ["Events", "Ledger", "Matched", "Settled", "pattern_matches", "settle"]

_EVENT_COLUMNS = ("publisher", "sequence", "channel", "intended_ns", "sent_ns", "status")
_DELIVERY_COLUMNS = ("publisher", "sequence", "subscription", "arrival_ns", "read_ns", "intended_ns")


@dataclass(frozen=True)
class Ledger:
    """Counts of the measure phase; a delivery is one event to one subscription."""

    #: Events due in the phase, and those the service accepted.
    events_due: int
    events_accepted: int
    expected: int
    #: Expected pairs that arrived in time.
    delivered: int
    #: Expected pairs that arrived later after their intended time than the scenario's drain.
    late: int
    #: Expected pairs that did not arrive, by what was going on when the event was sent: the subscription was
    #: acknowledged and not yet proven ready; its connection was lost (or about to be); neither.
    lost_before_ready: int
    lost_in_reconnect: int
    lost_otherwise: int
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


@dataclass(frozen=True)
class Events:
    """The events of a window, sorted by key; arrays of one length."""

    key: Ints
    channel: Ints
    channels: list[str | None]
    sent_ns: Ints
    intended_ns: Ints
    accepted: Flags

    @property
    def publisher(self) -> Ints:
        """The publisher of each."""
        return self.key >> 32


@dataclass(frozen=True)
class Matched:
    """Deliveries joined to their events: the first rows of each expected pair; arrays of one length."""

    #: Place among all rows (a subscription's stand in the order in which they were received), index into Events,
    #: subscription number, segment of its presence, and arrival.
    row: Ints
    event: Ints
    subscription: Ints
    segment: Ints
    arrival_ns: Ints
    read_ns: Ints


@dataclass(frozen=True)
class Settled:
    """A ledger and what it was made from."""

    ledger: Ledger
    events: Events
    matched: Matched
    #: How many subscriptions each event should have reached.
    expected: Ints
    breakdown: Breakdown


@lru_cache(maxsize=1)
def settle(run: Run, window: Window) -> Settled:
    """Return the ledger of a window and what it was made from; the last one is kept, as several figures need it."""
    events, present = _events(run, window), presence.segments(run)
    reach = _reach(events, present)
    expected, expected_by_segment = _expected(events, present, reach)
    table = run.table("deliveries", _DELIVERY_COLUMNS, window)
    rows = table.num_rows
    key = _key(ints(table, "publisher"), ints(table, "sequence"))
    subscription = ints(table, "subscription")
    arrival_ns, read_ns = ints(table, "arrival_ns"), ints(table, "read_ns")
    del table

    # Earliest first, so that the first of a pair is the one that counts.
    order = np.lexsort((read_ns, arrival_ns))
    row, key, subscription, arrival_ns, read_ns = (
        a[order] for a in (np.arange(rows), key, subscription, arrival_ns, read_ns)
    )
    first = _first_of_pairs(key, subscription)
    again = np.ones(rows, dtype=bool)
    again[first] = False
    twice_event, twice_subscription = _place(events, key[again]), subscription[again]
    row, key, subscription, arrival_ns, read_ns = (
        a[first] for a in (row, key, subscription, arrival_ns, read_ns)
    )

    place = _place(events, key)
    known = place >= 0
    accepted = np.zeros(len(key), dtype=bool)
    accepted[known] = events.accepted[place[known]]
    segment = np.full(len(key), -1, dtype=np.int64)
    segment[accepted] = _segment(events, present, reach, place[accepted], subscription[accepted])
    there = segment >= 0
    matched = Matched(*(a[there] for a in (row, place, subscription, segment, arrival_ns, read_ns)))

    arrived = np.bincount(matched.event, minlength=len(events.key))
    late = _late(run, events, matched)
    reordered = _reordered(events, matched)
    losses = find_losses(events, present, reach, matched, expected, run.late_after_ns)
    breakdown = Breakdown.of(
        events,
        present,
        expected,
        expected_by_segment,
        delivered=(matched.event[~late], matched.subscription[~late]),
        late=(matched.event[late], matched.subscription[late]),
        duplicates=(twice_event, twice_subscription),
        reordered=(matched.event[reordered], matched.subscription[reordered]),
        losses=losses,
    )
    ledger = Ledger(
        events_due=len(events.key),
        events_accepted=int(np.count_nonzero(events.accepted)),
        expected=int(expected.sum()),
        delivered=len(matched.event) - int(np.count_nonzero(late)),
        late=int(np.count_nonzero(late)),
        lost_before_ready=losses.total(BEFORE_READY),
        lost_in_reconnect=losses.total(IN_RECONNECT),
        lost_otherwise=losses.total(OTHERWISE),
        duplicates=rows - len(first),
        not_acknowledged=int(np.count_nonzero(known & ~accepted)),
        outside_live_window=int(np.count_nonzero(accepted & ~there)),
        unrecorded=int(np.count_nonzero(~known)),
        rows=rows,
        reordered=int(np.count_nonzero(reordered)),
        events_with_loss=int(np.count_nonzero(arrived < expected)),
        subscriptions_with_loss=losses.subscriptions,
    )
    agrees = breakdown.agrees_with(ledger)
    if not agrees:
        ledger = Ledger(**{**asdict(ledger), "breakdown_agrees": False})
    return Settled(ledger, events, matched, expected, breakdown)


#: For each channel with accepted events: its events by time of sending, and the segments whose pattern matches.
Reach = dict[int, tuple[Ints, Ints]]


def _reach(events: Events, present: Segments) -> Reach:
    by_pattern = dict(_by_code(present.pattern, len(present.patterns)))
    reach: Reach = {}
    for channel, rows in _by_code(np.where(events.accepted, events.channel, -1), len(events.channels)):
        name = events.channels[channel]
        codes_of = [] if name is None else matching_patterns(present.patterns, name)
        found = [by_pattern[code] for code in codes_of if code in by_pattern]
        members = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        reach[channel] = (rows[np.argsort(events.sent_ns[rows], kind="stable")], members)
    return reach


def _expected(events: Events, present: Segments, reach: Reach) -> tuple[Ints, Ints]:
    """Return how many subscriptions each event should reach, and how many events each segment should receive."""
    by_event = np.zeros(len(events.key), dtype=np.int64)
    by_segment = np.zeros(len(present), dtype=np.int64)
    for rows, members in reach.values():
        sent_ns = events.sent_ns[rows]
        begins = np.searchsorted(sent_ns, present.start_ns[members], side="left")
        ends = np.searchsorted(sent_ns, present.end_ns[members], side="left")
        steps = np.bincount(begins, minlength=len(rows) + 1) - np.bincount(ends, minlength=len(rows) + 1)
        by_event[rows] += np.cumsum(steps)[:-1]
        by_segment[members] += ends - begins
    return by_event, by_segment


def _events(run: Run, window: Window) -> Events:
    table = run.table("events", _EVENT_COLUMNS, window)
    key = _key(ints(table, "publisher"), ints(table, "sequence"))
    order = np.argsort(key, kind="stable")
    channel, channels = codes(table, "channel")
    status, statuses = codes(table, "status")
    accepted_code = statuses.index("accepted") if "accepted" in statuses else -2
    return Events(
        key[order],
        channel[order],
        channels,
        ints(table, "sent_ns")[order],
        ints(table, "intended_ns")[order],
        (status == accepted_code)[order],
    )


def _key(publisher: Ints, sequence: Ints) -> Ints:
    """One number for an event: publishers have 31 bits at most, sequences stay below 2**32 here."""
    return (publisher << 32) | sequence


def _place(events: Events, key: Ints) -> Ints:
    """Return where each key stands among the events; -1: nowhere."""
    if not len(events.key):
        return np.full(len(key), -1, dtype=np.int64)
    place = np.minimum(np.searchsorted(events.key, key), len(events.key) - 1)
    return np.where(events.key[place] == key, place, -1)


def _first_of_pairs(key: Ints, subscription: Ints) -> Ints:
    """Return where each pair of event and subscription stands first."""
    order = np.lexsort((subscription, key))  # stable: within a pair the earliest row stays first
    if not len(order):
        return order
    sorted_key, sorted_subscription = key[order], subscription[order]
    begins = np.empty(len(order), dtype=bool)
    begins[0] = True
    begins[1:] = (sorted_key[1:] != sorted_key[:-1]) | (sorted_subscription[1:] != sorted_subscription[:-1])
    return order[begins]


def _segment(events: Events, present: Segments, reach: Reach, event: Ints, subscription: Ints) -> Ints:
    """Return the segment of presence that each pair falls into; -1 where there is none or its pattern is another."""
    segment = present.at(subscription, events.sent_ns[event])
    inside = segment >= 0
    width = len(present.patterns)
    pairs = [channel * width + np.unique(present.pattern[members]) for channel, (_, members) in reach.items()]
    matching = np.sort(np.concatenate(pairs)) if pairs else np.empty(0, dtype=np.int64)
    pair = events.channel[event[inside]] * width + present.pattern[segment[inside]]
    segment[inside] = np.where(np.isin(pair, matching), segment[inside], -1)
    return segment


def _late(run: Run, events: Events, matched: Matched) -> Flags:
    if run.late_after_ns is None:
        return np.zeros(len(matched.event), dtype=bool)
    return matched.arrival_ns - events.intended_ns[matched.event] > run.late_after_ns


def _reordered(events: Events, matched: Matched) -> Flags:
    """Whether each delivery came after one with a higher sequence of the same publisher to the same subscription."""
    late = np.zeros(len(matched.event), dtype=bool)
    if not len(matched.event):
        return late
    key = events.key[matched.event]
    publisher = key >> 32
    # By row, not by stamp: frames of one read share a stamp.
    order = np.lexsort((matched.row, publisher, matched.subscription))
    sequence, publisher = (key & 0xFFFFFFFF)[order], publisher[order]
    subscription = matched.subscription[order]
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (publisher[1:] != publisher[:-1]) | (subscription[1:] != subscription[:-1])
    # A running maximum within each stream: lift each stream above all before it.
    lifted = sequence + (np.cumsum(starts) - 1) * (int(sequence.max()) + 1)
    late[order] = lifted < np.maximum.accumulate(lifted)
    return late


def _by_code(values: Ints, count: int) -> Iterator[tuple[int, Ints]]:
    """Yield (code, rows that have it) for each code from 0 to count-1 that occurs."""
    order = np.argsort(values, kind="stable")
    edges = np.searchsorted(values[order], np.arange(count + 1))
    for code in range(count):
        if edges[code] < edges[code + 1]:
            yield code, order[edges[code] : edges[code + 1]]
