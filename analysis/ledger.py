"""The ledger: what should have been delivered, set against what was.

Expected is every pair of an accepted event of the measure phase and a subscription whose channel matches and that was
live (proven ready, not ended) when the event was sent. Each delivery is then one of: the first of an expected pair, a
duplicate of it, or something that was not expected and is counted by its reason. Nothing is left over: see
:meth:`Ledger.balances`.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.run import Ints, Run, Window, codes, ints

_FOREVER = np.iinfo(np.int64).max
_EVENT_COLUMNS = ("publisher", "sequence", "channel", "intended_ns", "sent_ns", "status")
_DELIVERY_COLUMNS = ("publisher", "sequence", "subscription", "arrival_ns", "read_ns", "intended_ns")
_SUBSCRIPTION_COLUMNS = ("subscription", "channel", "ready_ns", "ended_ns")


@dataclass(frozen=True)
class Ledger:
    """Counts of the measure phase; a delivery is one event to one subscription."""

    #: Events due in the phase, and those the service accepted.
    events_due: int
    events_accepted: int
    expected: int
    #: Expected pairs that arrived at least once.
    delivered: int
    #: Expected pairs that did not arrive.
    lost: int
    #: Rows beyond the first of the same event and subscription.
    duplicates: int
    #: First rows of events that the service did not accept (it may deliver them all the same).
    not_acknowledged: int
    #: First rows to a subscription that was not live when the event was sent.
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

    @property
    def delivery_ratio(self) -> float | None:
        """Delivered of expected; None where nothing was expected."""
        return self.delivered / self.expected if self.expected else None

    @property
    def balances(self) -> bool:
        """Whether every expected pair and every row is accounted for exactly once."""
        explained = (
            self.delivered
            + self.duplicates
            + self.not_acknowledged
            + self.outside_live_window
            + self.unrecorded
        )
        return self.expected == self.delivered + self.lost and self.rows == explained and self.lost >= 0

    def to_dict(self) -> dict[str, Any]:
        """Return all counts, the ratio and the verdict."""
        return {**asdict(self), "delivery_ratio": self.delivery_ratio, "balances": self.balances}


@dataclass(frozen=True)
class Events:
    """The events of a window, sorted by key; arrays of one length."""

    key: Ints
    channel: Ints
    channels: list[str | None]
    sent_ns: Ints
    intended_ns: Ints
    accepted: np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Lives:
    """The lives of subscriptions that became ready; arrays of one length, sorted by subscription and start."""

    subscription: Ints
    pattern: Ints
    patterns: list[str | None]
    ready_ns: Ints
    ended_ns: Ints


@dataclass(frozen=True)
class Matched:
    """Deliveries joined to their events: the first rows of each pair, and what became of them."""

    #: Index into Events, subscription number and arrival of the expected first rows.
    event: Ints
    subscription: Ints
    arrival_ns: Ints
    read_ns: Ints


def pattern_matches(pattern: str, channel: str) -> bool:
    """Whether a subscription to ``pattern`` receives ``channel``: `/*` at the end stands for one or more segments."""
    if pattern.endswith("/*"):
        return channel.startswith(pattern[:-1]) and len(channel) > len(pattern) - 1
    return pattern == channel


def settle(run: Run, window: Window) -> tuple[Ledger, Events, Matched, Ints]:
    """Return the ledger of a window, its events, the expected deliveries, and how many each event should have had."""
    events, lives = _events(run, window), _lives(run)
    expected = expected_by_event(events, lives)
    table = run.table("deliveries", _DELIVERY_COLUMNS, window)
    rows = table.num_rows
    key = _key(ints(table, "publisher"), ints(table, "sequence"))
    subscription = ints(table, "subscription")
    arrival_ns, read_ns = ints(table, "arrival_ns"), ints(table, "read_ns")
    del table

    # Earliest first, so that the first of a pair is the one that counts.
    order = np.lexsort((read_ns, arrival_ns))
    key, subscription, arrival_ns, read_ns = (a[order] for a in (key, subscription, arrival_ns, read_ns))
    first = _first_of_pairs(key, subscription)
    duplicates = rows - len(first)
    key, subscription, arrival_ns, read_ns = (a[first] for a in (key, subscription, arrival_ns, read_ns))

    place = np.searchsorted(events.key, key)
    place = np.minimum(place, max(0, len(events.key) - 1))
    known = events.key[place] == key if len(events.key) else np.zeros(len(key), dtype=bool)
    unrecorded = int(np.count_nonzero(~known))
    accepted = np.zeros(len(key), dtype=bool)
    accepted[known] = events.accepted[place[known]]
    live = np.zeros(len(key), dtype=bool)
    live[accepted] = _live(lives, events, place[accepted], subscription[accepted])
    matched = Matched(place[live], subscription[live], arrival_ns[live], read_ns[live])

    total = int(expected.sum())
    delivered = len(matched.event)
    arrived = np.bincount(matched.event, minlength=len(events.key))
    ledger = Ledger(
        events_due=len(events.key),
        events_accepted=int(np.count_nonzero(events.accepted)),
        expected=total,
        delivered=delivered,
        lost=total - delivered,
        duplicates=duplicates,
        not_acknowledged=int(np.count_nonzero(known & ~accepted)),
        outside_live_window=int(np.count_nonzero(accepted & ~live)),
        unrecorded=unrecorded,
        rows=rows,
        reordered=_reordered(events, matched),
        events_with_loss=int(np.count_nonzero(arrived < expected)),
        subscriptions_with_loss=_subscriptions_with_loss(events, lives, matched, arrived < expected),
    )
    return ledger, events, matched, expected


def expected_by_event(events: Events, lives: Lives) -> Ints:
    """Return how many live subscriptions each event should have reached; 0 for events that were not accepted."""
    expected = np.zeros(len(events.key), dtype=np.int64)
    for channel, rows in _by_code(np.where(events.accepted, events.channel, -1), len(events.channels)):
        name = events.channels[channel]
        if name is None:
            continue
        sent_ns = events.sent_ns[rows]
        for pattern, members in _by_code(lives.pattern, len(lives.patterns)):
            if pattern_matches(lives.patterns[pattern] or "", name):
                begun = np.searchsorted(np.sort(lives.ready_ns[members]), sent_ns, side="right")
                ended = np.searchsorted(np.sort(lives.ended_ns[members]), sent_ns, side="right")
                expected[rows] += begun - ended
    return expected


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


def _lives(run: Run) -> Lives:
    table = run.table("subscriptions", _SUBSCRIPTION_COLUMNS)
    subscription, ready_ns = ints(table, "subscription"), ints(table, "ready_ns")
    ended_ns = ints(table, "ended_ns", missing=_FOREVER)
    pattern, patterns = codes(table, "channel")
    keep = ready_ns >= 0
    arrays = [a[keep] for a in (subscription, pattern, ready_ns, ended_ns)]
    order = np.lexsort((arrays[2], arrays[0]))
    subscription, pattern, ready_ns, ended_ns = (a[order] for a in arrays)
    return Lives(subscription, pattern, patterns, ready_ns, ended_ns)


def _key(publisher: Ints, sequence: Ints) -> Ints:
    """One number for an event: publishers have 31 bits at most, sequences stay below 2**32 here."""
    return (publisher << 32) | sequence


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


def _live(
    lives: Lives, events: Events, event: Ints, subscription: Ints
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether the subscription of each pair matched and was live when its event was sent."""
    if not len(lives.subscription):
        return np.zeros(len(event), dtype=bool)
    sent_ns = events.sent_ns[event]
    live = np.zeros(len(event), dtype=bool)
    at = np.searchsorted(lives.subscription, subscription, side="left")
    matching = np.array(
        [[pattern_matches(p or "", c or "") for c in events.channels] for p in lives.patterns], dtype=bool
    ).reshape(len(lives.patterns), len(events.channels))
    # One turn for each life that any subscription has; one is the rule.
    while True:
        inside = at < len(lives.subscription)
        inside[inside] = lives.subscription[at[inside]] == subscription[inside]
        if not inside.any():
            return live
        rows, life = np.flatnonzero(inside), at[inside]
        live[rows] |= (
            (lives.ready_ns[life] <= sent_ns[rows])
            & (lives.ended_ns[life] > sent_ns[rows])
            & matching[lives.pattern[life], events.channel[event[rows]]]
        )
        at = at + 1


def _reordered(events: Events, matched: Matched) -> int:
    """Count deliveries that came after one with a higher sequence of the same publisher to the same subscription."""
    if not len(matched.event):
        return 0
    key = events.key[matched.event]
    publisher = key >> 32
    order = np.lexsort((matched.read_ns, matched.arrival_ns, publisher, matched.subscription))
    sequence, publisher = (key & 0xFFFFFFFF)[order], publisher[order]
    subscription = matched.subscription[order]
    starts = np.ones(len(order), dtype=bool)
    starts[1:] = (publisher[1:] != publisher[:-1]) | (subscription[1:] != subscription[:-1])
    # A running maximum within each stream: lift each stream above all before it.
    lifted = sequence + (np.cumsum(starts) - 1) * (int(sequence.max()) + 1)
    highest = np.maximum.accumulate(lifted)
    return int(np.count_nonzero(lifted < highest))


def _subscriptions_with_loss(
    events: Events, lives: Lives, matched: Matched, lossy: np.ndarray[Any, np.dtype[np.bool_]]
) -> int:
    """Count subscriptions that miss an expected delivery; looks only at events that someone misses."""
    missing: set[int] = set()
    affected = np.flatnonzero(lossy)
    if not len(affected):
        return 0
    order = np.argsort(matched.event, kind="stable")
    sorted_event = matched.event[order]
    for event in affected.tolist():
        sent_ns, channel = events.sent_ns[event], events.channels[events.channel[event]] or ""
        live = (lives.ready_ns <= sent_ns) & (lives.ended_ns > sent_ns)
        wanted = {
            int(s)
            for s, p in zip(lives.subscription[live], lives.pattern[live], strict=True)
            if pattern_matches(lives.patterns[p] or "", channel)
        }
        low, high = np.searchsorted(sorted_event, [event, event + 1])
        missing |= wanted - set(matched.subscription[order[low:high]].tolist())
    return len(missing)


def _by_code(values: Ints, count: int) -> Iterator[tuple[int, Ints]]:
    """Yield (code, rows that have it) for each code from 0 to count-1 that occurs."""
    order = np.argsort(values, kind="stable")
    edges = np.searchsorted(values[order], np.arange(count + 1))
    for code in range(count):
        if edges[code] < edges[code + 1]:
            yield code, order[edges[code] : edges[code + 1]]
