"""When each subscription was owed events: the segments of its time that the ledger counts by.

A client wants its events from the first acknowledgement of its subscription until it hangs up itself. That time falls
into segments of three kinds: live (proven ready), before ready (acknowledged, not yet proven), and in reconnect (its
connection was lost and the subscription not yet acknowledged anew). An event sent in any of them is expected; the kind
says what a loss is to be called.

Two more kinds are gaps that the client made itself, from then until the subscription is proven ready again: dropped (a
drop of the scenario cut the connection) and away (it unsubscribed or left). What arrives of the events sent in them
counts as any other; what does not was missed on purpose and is no loss.

A gap of the last kind, unobserved, begins where a failure of the harness ended a connection, and lasts as long: what
was sent in it and is not on record was observed by nobody, and is no loss either.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from analysis.loading.run import Ints, Run, codes, ints

FOREVER = np.iinfo(np.int64).max
LIVE, BEFORE_READY, IN_RECONNECT, DROPPED, AWAY, UNOBSERVED = 1, 2, 3, 4, 5, 6
#: Why a connection ended that a failure of the harness ended, as it stands in the record.
HARNESS_FAILURE = "harness failure"

_SUBSCRIPTION_COLUMNS = (
    "worker", "subscription", "connection", "life", "turn", "channel", "acknowledged_ns", "ready_ns", "ended_ns",
    "intent",
)  # fmt: skip
Flags = np.ndarray[Any, np.dtype[np.bool_]]


@dataclass(frozen=True)
class Segments:
    """Half-open intervals of presence, sorted by subscription and start; those of one subscription do not overlap."""

    subscription: Ints
    pattern: Ints
    start_ns: Ints
    end_ns: Ints
    kind: Ints
    #: Of a live one the kind of the gap that began at its end; 0: it ended with the client's part in the run.
    ending: Ints
    #: When its connection was last heard: its end, or before that where it was closed since it had fallen silent.
    heard_ns: Ints
    patterns: list[str | None]

    @property
    def broken(self) -> Flags:
        """Whether events could be under way to it at its end that it did not get because of that end."""
        return self.ending > 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.subscription)

    def at(self, subscription: Ints, time_ns: Ints) -> Ints:
        """Return the segment that each (subscription, time) falls into; -1: none."""
        if not len(self):
            return np.full(len(subscription), -1, dtype=np.int64)
        # One number for (subscription, start), so that one binary search finds the place: starts are replaced by
        # their rank among all starts.
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

    # A life without an acknowledgement is an attempt; what it was lost for goes on. Unless the harness failed in it:
    # from then on nobody knows what would have come.
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
    # A gap of the client's own making lasts until the next life is ready.
    unready = np.full(len(subscription), BEFORE_READY, dtype=np.int64)
    after_own = np.zeros(len(subscription), dtype=bool)
    after_own[1:] = same & (gap[:-1] >= DROPPED)
    unready[after_own] = gap[np.flatnonzero(after_own) - 1]

    count = len(subscription)
    start_ns = np.concatenate((acknowledged_ns, ready_ns, ended_ns))
    end_ns = np.concatenate((ready_ns, ended_ns, gap_end_ns))
    kind = np.concatenate((unready, np.full(count, LIVE, dtype=np.int64), gap))
    ending = np.where(kind == LIVE, np.tile(gap, 3), 0)
    subscription, pattern, heard_ns = (np.tile(each, 3) for each in (subscription, pattern, heard_ns))
    order = np.lexsort((start_ns, subscription))
    order = order[start_ns[order] < end_ns[order]]
    return Segments(
        subscription[order],
        pattern[order],
        start_ns[order],
        end_ns[order],
        kind[order],
        ending[order],
        heard_ns[order],
        patterns,
    )


def _record_ends_ns(run: Run, worker: Ints) -> Ints:
    """Return until when the record of each row's worker reaches: for ever, or its last sign where it breaks off."""
    ends_ns = np.full(len(worker), FOREVER, dtype=np.int64)
    for number, end_ns in run.broken_off_ns.items():
        ends_ns[worker == number] = end_ns
    return ends_ns


def _gaps(run: Run, table: pa.Table, connection: Ints, life: Ints) -> Ints:
    """Return the kind of the gap that begins at the end of each row of subscriptions; 0: none does."""
    intent, intents = codes(table, "intent")
    of_intent = np.array([gap_of(text) for text in intents], dtype=np.int64)
    own = of_intent[intent] if len(intents) else np.zeros(len(intent), dtype=np.int64)
    return np.where(own == 0, np.where(_lost(run, connection, life), IN_RECONNECT, 0), own)


def gap_of(intent: str | None) -> int:
    """Return the kind of gap that a client began with an intent; 0: with none."""
    if intent is None:
        return 0
    if intent == HARNESS_FAILURE:
        return UNOBSERVED
    return DROPPED if intent.startswith("drop ") else AWAY


def _lost(run: Run, connection: Ints, life: Ints) -> Flags:
    """Whether the connection that carried each life of a subscription was lost, not closed by the client."""
    table = run.table("connections", ("connection", "life", "error", "closed_ns"))
    error, errors = codes(table, "error")
    ours = error == errors.index(None) if None in errors else np.zeros(len(error), dtype=bool)
    lost = np.sort(_life_key(ints(table, "connection"), ints(table, "life"))[~ours])
    return np.isin(_life_key(connection, life), lost)


def _silent_since_ns(run: Run, connection: Ints, life: Ints) -> Ints:
    """Return since when the connection of each life of a subscription was silent; FOREVER: it never was found to be."""
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
    """Whether a subscription to ``pattern`` receives ``channel``: `/*` at the end stands for one or more segments."""
    if pattern.endswith("/*"):
        return channel.startswith(pattern[:-1]) and len(channel) > len(pattern) - 1
    return pattern == channel


def matching_patterns(patterns: list[str | None], channel: str) -> list[int]:
    """Return the codes of the patterns that receive ``channel``; the work grows with its depth, not their number."""
    code = {pattern: number for number, pattern in enumerate(patterns) if pattern is not None}
    parts = channel.split("/")
    candidates = [channel, *("/".join(parts[:depth]) + "/*" for depth in range(1, len(parts)))]
    return [
        code[name] for name in dict.fromkeys(candidates) if name in code and pattern_matches(name, channel)
    ]
