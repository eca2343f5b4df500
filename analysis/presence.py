"""When each subscription was owed events: the segments of its time that the ledger counts by.

A client wants its events from the first acknowledgement of its subscription until it hangs up itself. That time falls
into segments of three kinds: live (proven ready), before ready (acknowledged, not yet proven), and in reconnect (its
connection was lost and the subscription not yet acknowledged anew). An event sent in any of them is expected; the kind
says what a loss is to be called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.run import Ints, Run, codes, ints

FOREVER = np.iinfo(np.int64).max
LIVE, BEFORE_READY, IN_RECONNECT = 1, 2, 3

_SUBSCRIPTION_COLUMNS = (
    "worker", "subscription", "connection", "life", "channel", "acknowledged_ns", "ready_ns", "ended_ns",
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
    #: Whether the connection was lost at its end, rather than closed by the client.
    broken: Flags
    patterns: list[str | None]

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
    lost = _lost(run, ints(table, "connection"), columns[1])
    order = np.lexsort((columns[1], columns[0]))
    subscription, _, acknowledged_ns, ready_ns = (column[order] for column in columns)
    pattern, ended_ns, lost = pattern[order], ended_ns[order], lost[order]

    # A life without an acknowledgement is an attempt; what it was lost for goes on.
    begun = (acknowledged_ns >= 0) | (ready_ns >= 0)
    subscription, pattern, ended_ns, lost = subscription[begun], pattern[begun], ended_ns[begun], lost[begun]
    ready_ns = np.where(ready_ns[begun] >= 0, np.minimum(ready_ns[begun], ended_ns), ended_ns)
    acknowledged_ns = acknowledged_ns[begun]
    acknowledged_ns = np.where(acknowledged_ns >= 0, np.minimum(acknowledged_ns, ready_ns), ready_ns)
    again_ns = np.full(len(subscription), FOREVER, dtype=np.int64)
    same = subscription[1:] == subscription[:-1]
    again_ns[:-1][same] = acknowledged_ns[1:][same]
    gap_end_ns = np.where(lost, np.maximum(again_ns, ended_ns), ended_ns)

    count = len(subscription)
    start_ns = np.concatenate((acknowledged_ns, ready_ns, ended_ns))
    end_ns = np.concatenate((ready_ns, ended_ns, gap_end_ns))
    kind = np.repeat(np.array([BEFORE_READY, LIVE, IN_RECONNECT], dtype=np.int64), count)
    broken = (kind == LIVE) & np.tile(lost, 3)
    subscription, pattern = np.tile(subscription, 3), np.tile(pattern, 3)
    order = np.lexsort((start_ns, subscription))
    order = order[start_ns[order] < end_ns[order]]
    return Segments(
        subscription[order],
        pattern[order],
        start_ns[order],
        end_ns[order],
        kind[order],
        broken[order],
        patterns,
    )


def _record_ends_ns(run: Run, worker: Ints) -> Ints:
    """Return until when the record of each row's worker reaches: for ever, or its last sign where it breaks off."""
    ends_ns = np.full(len(worker), FOREVER, dtype=np.int64)
    for number, end_ns in run.broken_off_ns.items():
        ends_ns[worker == number] = end_ns
    return ends_ns


def _lost(run: Run, connection: Ints, life: Ints) -> Flags:
    """Whether the connection that carried each life of a subscription was lost, not closed by the client."""
    table = run.table("connections", ("connection", "life", "error", "closed_ns"))
    error, errors = codes(table, "error")
    ours = error == errors.index(None) if None in errors else np.zeros(len(error), dtype=bool)
    lost = np.sort(_life_key(ints(table, "connection"), ints(table, "life"))[~ours])
    return np.isin(_life_key(connection, life), lost)


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
