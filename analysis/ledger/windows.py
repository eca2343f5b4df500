"""Find the segments of time in which each subscription should have received events; the ledger counts by segment.

A client wants its events from the first acknowledgement of its subscription until it disconnects on purpose: in this
time the subscription is present. The time is divided into segments of three kinds: ready (proven), before ready
(acknowledged, not yet proven ready), and in reconnect (its connection was lost and the subscription not yet
acknowledged again). An event sent in any of them is expected; the kind decides the class of a loss.

Two more kinds are gaps that the client caused itself, which last until the subscription is proven ready again: dropped
(a drop of the scenario cut the connection) and away (it unsubscribed or left). An event sent in such a gap counts like
any other if it arrives; if not, it was missed on purpose and is not lost.

The last kind, unobserved, is a gap that begins when a failure of the harness ends a connection, and ends like the other
gaps. If a delivery of an event sent in this gap is not on record, it is unobserved, and not lost either.

A subscription has one life for each connection over which its client requests it: a reconnect begins a new life.

If a client keeps its session over reconnects, the service must deliver the events of a gap that the client caused
itself, unless the session had expired. The gap then counts as in reconnect, unless the client unsubscribed.

Subscriptions that share their events (`analysis.ledger.receivers`) count as one subscription with the segments of all
its members together: it is ready while any member is ready, and has a gap only while all members have one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.ledger.receivers import NOT_SHARED, Receivers, receivers_of
from analysis.loading.run import Ints, Run, codes, ints

FOREVER = np.iinfo(np.int64).max
READY, BEFORE_READY, IN_RECONNECT, DROPPED, AWAY, UNOBSERVED = 1, 2, 3, 4, 5, 6
#: Value of `intent` in the run's record if a failure of the harness ended the connection.
HARNESS_FAILURE = "harness failure"
UNSUBSCRIBE = "unsubscribe"
#: Values of a reconnect's `session` (what became of the client's session) if the service should have kept the session.
OWED_SESSIONS = ("resumed", "lost")
#: States of shared subscriptions, best first: a group has the best state that any of its members has.
_BEST = (READY, BEFORE_READY, UNOBSERVED, IN_RECONNECT, DROPPED, AWAY)

_SUBSCRIPTION_COLUMNS = (
    "worker", "subscription", "connection", "life", "turn", "channel", "acknowledged_ns", "ready_ns", "ended_ns",
    "intent",
)  # fmt: skip
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Segments:
    """Segments: half-open intervals in which one subscription was in one state, such as ready or in reconnect.

    They are sorted by subscription and start. The segments of one subscription do not overlap.
    """

    subscription: Ints
    pattern: Ints
    start_ns: Ints
    end_ns: Ints
    kind: Ints
    #: For a ready segment, the kind of the gap that follows, or 0 if none follows because the client's part in the run
    #: was over. For any other segment, 0.
    ending: Ints
    #: Time at which the segment's connection was last heard from: its end, or earlier if it was closed for silence.
    heard_ns: Ints
    patterns: list[str | None]
    #: The segments of each member of shared subscriptions, or None if no subscription is shared. The other fields treat
    #: each group of members as one subscription. A group has no connection, so its segments never end with a broken
    #: connection.
    members: "Segments | None" = None
    receivers: Receivers = NOT_SHARED

    @property
    def people(self) -> Ints:
        """The numbers of all subscriptions that were ever present, members of groups included, ascending."""
        single = self.subscription
        if self.members is None:
            return np.unique(single)
        groups = self.receivers.of(self.members.subscription)
        return np.unique(np.concatenate((single[~np.isin(single, groups)], self.members.subscription)))

    @property
    def broken(self) -> Flags:
        """True for ready segments followed by a gap: events still under way when the segment ends may be lost."""
        return self.ending > 0

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.subscription)

    def at(self, subscription: Ints, time_ns: Ints) -> Ints:
        """Return, for each pair of subscription and time, the index of the segment that contains it, or -1."""
        if not len(self):
            return np.full(len(subscription), -1, dtype=np.int64)
        # Pack (subscription, start) into one number, so that one binary search finds the place. A start is replaced by
        # its position among all sorted starts, which is a smaller number.
        starts = np.sort(self.start_ns)
        base = len(self) + 1
        keys = self.subscription * base + np.searchsorted(starts, self.start_ns, side="left")
        wanted = subscription * base + np.searchsorted(starts, time_ns, side="right")
        place = np.searchsorted(keys, wanted, side="left") - 1
        inside = place >= 0
        inside[inside] = (self.subscription[place[inside]] == subscription[inside]) & (
            time_ns[inside] < self.end_ns[place[inside]]
        )
        return np.where(inside, place, -1)


def segments(run: Run) -> Segments:
    """Return the segments of all subscriptions of a run."""
    table = run.table("subscriptions", _SUBSCRIPTION_COLUMNS)
    pattern, patterns = codes(table, "channel")
    columns = [ints(table, name) for name in ("subscription", "life", "acknowledged_ns", "ready_ns")]
    ended_ns = ints(table, "ended_ns", missing=FOREVER)
    ended_ns = np.minimum(ended_ns, _record_ends_ns(run, ints(table, "worker")))
    gap = _gaps(run, table, ints(table, "connection"), columns[1])
    heard_ns = np.minimum(ended_ns, _silent_since_ns(run, ints(table, "connection"), columns[1]))
    order = np.lexsort((ints(table, "turn"), columns[1], columns[0]))
    subscription, _, acknowledged_ns, ready_ns = (column[order] for column in columns)
    pattern, ended_ns, gap, heard_ns = pattern[order], ended_ns[order], gap[order], heard_ns[order]

    # A life (one connection of a subscription) that was never acknowledged is only an attempt to subscribe, so the gap
    # before it continues. The exception is a life that a failure of the harness ended: from then on, deliveries count
    # as unobserved.
    begun = (acknowledged_ns >= 0) | (ready_ns >= 0) | (gap == UNOBSERVED)
    subscription, pattern, ended_ns, gap = subscription[begun], pattern[begun], ended_ns[begun], gap[begun]
    heard_ns = heard_ns[begun]
    ready_ns = np.where(ready_ns[begun] >= 0, np.minimum(ready_ns[begun], ended_ns), ended_ns)
    acknowledged_ns = acknowledged_ns[begun]
    acknowledged_ns = np.where(acknowledged_ns >= 0, np.minimum(acknowledged_ns, ready_ns), ready_ns)
    again_ns = np.full(len(subscription), FOREVER, dtype=np.int64)
    same = subscription[1:] == subscription[:-1]
    again_ns[:-1][same] = acknowledged_ns[1:][same]
    gap_end_ns = np.where(gap > 0, np.maximum(again_ns, ended_ns), ended_ns)
    # A gap caused by the client or the harness (dropped, away, unobserved) lasts until the subscription is ready again,
    # not only acknowledged.
    unready = np.full(len(subscription), BEFORE_READY, dtype=np.int64)
    after_own = np.zeros(len(subscription), dtype=bool)
    after_own[1:] = same & (gap[:-1] >= DROPPED)
    unready[after_own] = gap[np.flatnonzero(after_own) - 1]

    count = len(subscription)
    start_ns = np.concatenate((acknowledged_ns, ready_ns, ended_ns))
    end_ns = np.concatenate((ready_ns, ended_ns, gap_end_ns))
    kind = np.concatenate((unready, np.full(count, READY, dtype=np.int64), gap))
    ending = np.where(kind == READY, np.tile(gap, 3), 0)
    subscription, pattern, heard_ns = (np.tile(each, 3) for each in (subscription, pattern, heard_ns))
    order = np.lexsort((start_ns, subscription))
    order = order[start_ns[order] < end_ns[order]]
    found = Segments(
        subscription[order],
        pattern[order],
        start_ns[order],
        end_ns[order],
        kind[order],
        ending[order],
        heard_ns[order],
        patterns,
    )
    receivers = receivers_of(run)
    return _joined(found, receivers) if receivers else found


def _joined(found: Segments, receivers: Receivers) -> Segments:
    """Replace the segments of a group's members by segments of the whole group, as if it were one subscription."""
    shared = np.isin(found.subscription, receivers.members)
    members = _taken(found, shared)
    parts = [_taken(found, ~shared)]
    group = receivers.of(members.subscription)
    by_group = np.argsort(group, kind="stable")
    edges = np.flatnonzero(np.diff(group[by_group])) + 1
    for rows in np.split(by_group, edges) if len(by_group) else []:
        parts.append(_together(_taken(members, rows), int(group[rows[0]])))
    names = ("subscription", "pattern", "start_ns", "end_ns", "kind", "ending", "heard_ns")
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in names
    }
    order = np.lexsort((columns["start_ns"], columns["subscription"]))
    return replace(
        found,
        **{name: column[order] for name, column in columns.items()},
        members=members,
        receivers=receivers,
    )


def _taken(found: Segments, rows: Any) -> Segments:
    return Segments(
        found.subscription[rows],
        found.pattern[rows],
        found.start_ns[rows],
        found.end_ns[rows],
        found.kind[rows],
        found.ending[rows],
        found.heard_ns[rows],
        found.patterns,
    )


def _together(members: Segments, number: int) -> Segments:
    """Merge the segments of a shared subscription's members into one; at each moment the best member's state counts."""
    bounds = np.unique(np.concatenate((members.start_ns, members.end_ns)))
    begins, ends = np.searchsorted(bounds, members.start_ns), np.searchsorted(bounds, members.end_ns)
    kind = np.zeros(len(bounds), dtype=np.int64)
    for each in reversed(_BEST):
        its = members.kind == each
        there = np.bincount(begins[its], minlength=len(bounds)) - np.bincount(
            ends[its], minlength=len(bounds)
        )
        kind[np.cumsum(there) > 0] = each
    changes = np.ones(len(bounds), dtype=bool)
    changes[1:] = kind[1:] != kind[:-1]
    place = np.flatnonzero(changes)
    until_ns = np.append(bounds[place[1:]], bounds[-1:])
    present = kind[place] > 0
    start_ns, end_ns, kind = bounds[place][present], until_ns[present], kind[place][present]
    same = np.ones(len(start_ns), dtype=np.int64)
    return Segments(
        number * same, members.pattern[0] * same, start_ns, end_ns, kind, 0 * same, end_ns, members.patterns
    )


def _record_ends_ns(run: Run, worker: Ints) -> Ints:
    """Return, for each row, the time at which its worker's record ends.

    This is FOREVER for a complete record, or the worker's last sign of life if the record broke off.
    """
    ends_ns = np.full(len(worker), FOREVER, dtype=np.int64)
    for number, end_ns in run.broken_off_ns.items():
        ends_ns[worker == number] = end_ns
    return ends_ns


def _gaps(run: Run, table: pa.Table, connection: Ints, life: Ints) -> Ints:
    """Return, for each row of the subscriptions table, the kind of gap that begins at its end, or 0 without a gap."""
    intent, intents = codes(table, "intent")
    of_intent = np.array([gap_of(text) for text in intents], dtype=np.int64)
    own = of_intent[intent] if len(intents) else np.zeros(len(intent), dtype=np.int64)
    unsubscribed = np.array([text == UNSUBSCRIBE for text in intents], dtype=bool)
    owed = _owed(run, connection, life) & np.isin(own, (DROPPED, AWAY))
    if owed.any():
        own = np.where(owed & ~unsubscribed[intent], IN_RECONNECT, own)
    return np.where(own == 0, np.where(_lost(run, connection, life), IN_RECONNECT, 0), own)


def gap_of(intent: str | None) -> int:
    """Return the kind of gap in a subscription after its client ended the connection for the reason ``intent``.

    Without an intent, return 0.
    """
    if intent is None:
        return 0
    if intent == HARNESS_FAILURE:
        return UNOBSERVED
    return DROPPED if intent.startswith("drop ") else AWAY


def _lost(run: Run, connection: Ints, life: Ints) -> Flags:
    """Mark the lives of subscriptions whose connection was lost rather than closed by the client.

    A life is the part of a subscription on one connection.
    """
    table = run.table("connections", ("connection", "life", "error", "closed_ns"))
    error, errors = codes(table, "error")
    ours = error == errors.index(None) if None in errors else np.zeros(len(error), dtype=bool)
    lost = np.sort(_life_key(ints(table, "connection"), ints(table, "life"))[~ours])
    return np.isin(_life_key(connection, life), lost)


def _owed(run: Run, connection: Ints, life: Ints) -> Flags:
    """Mark the lives of subscriptions after which the service should have kept the client's session.

    A life is the part of a subscription on one connection. The client's next connect tells: its session was resumed, or
    was lost although the service should have kept it.
    """
    table = run.table("connections", ("connection", "life", "session"))
    session, sessions = codes(table, "session")
    known = np.array([text is not None for text in sessions], dtype=bool)
    if not known.any():
        return np.zeros(len(connection), dtype=bool)
    accepted = known[session]
    keys, kept = _life_key(ints(table, "connection"), ints(table, "life"))[accepted], session[accepted]
    order = np.argsort(keys)
    keys, kept = keys[order], kept[order]
    place = np.searchsorted(keys, _life_key(connection, life), side="right")
    follows = place < len(keys)
    place = np.minimum(place, len(keys) - 1)
    follows &= keys[place] >> 16 == connection
    owed = np.array([text in OWED_SESSIONS for text in sessions], dtype=bool)
    return np.asarray(follows & owed[kept[place]], dtype=bool)


def _silent_since_ns(run: Run, connection: Ints, life: Ints) -> Ints:
    """Return, for each life of a subscription, the time since which its connection was silent, else FOREVER.

    A life is the part of a subscription on one connection.
    """
    table = run.table("connections", ("connection", "life", "silent_since_ns"))
    since_ns = ints(table, "silent_since_ns")
    silent = since_ns >= 0
    keys, since_ns = _life_key(ints(table, "connection"), ints(table, "life"))[silent], since_ns[silent]
    found = np.full(len(connection), FOREVER, dtype=np.int64)
    if len(keys):
        order = np.argsort(keys)
        keys, since_ns, wanted = keys[order], since_ns[order], _life_key(connection, life)
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found = np.where(keys[place] == wanted, since_ns[place], FOREVER)
    return found


def _life_key(connection: Ints, life: Ints) -> Ints:
    return (connection << 16) | life


def pattern_matches(pattern: str, channel: str) -> bool:
    """Return True if a subscription to ``pattern`` receives ``channel``; a final `/*` matches one or more segments."""
    if pattern.endswith("/*"):
        return channel.startswith(pattern[:-1]) and len(channel) > len(pattern) - 1
    return pattern == channel


class Patterns:
    """Finds the patterns that receive a channel."""

    def __init__(self, patterns: Sequence[str | None]) -> None:
        """Index ``patterns``. The code of a pattern is its position in the list."""
        self._code = {pattern: number for number, pattern in enumerate(patterns) if pattern is not None}

    def matching(self, channel: str) -> list[int]:
        """Return the codes of the patterns that receive ``channel``, looked up by its prefixes."""
        parts = channel.split("/")
        candidates = [channel, *("/".join(parts[:depth]) + "/*" for depth in range(1, len(parts)))]
        return [
            self._code[name]
            for name in dict.fromkeys(candidates)
            if name in self._code and pattern_matches(name, channel)
        ]
