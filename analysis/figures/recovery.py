"""Recovery of clients after their connections were dropped or lost, computed only from the run's record.

A client that reconnects gets a new life of its connection and of each subscription. The instant of a drop is the end of
the first connection that the drop closed. A subscription that was dropped is ready again as soon as one of its later
lives is proven ready. If no later life is proven ready, the recovery took longer than the run's record shows.
"""

import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from analysis.figures.percentiles import nearest_rank
from analysis.ledger.receivers import receivers_of
from analysis.ledger.reconcile import reconcile
from analysis.loading.run import Ints, Run, codes, ints

NEVER = np.iinfo(np.int64).max
SECOND_NS = 1_000_000_000
_SHARES = (50, 90, 99)
_DROP = re.compile(r"drop (\d+)")
LEAVE, UNSUBSCRIBE = "leave", "unsubscribe"


@dataclass(frozen=True)
class Drop:
    """One drop of a group's connections."""

    group: str
    number: int
    at_ns: int
    #: Nanoseconds from the end of the first connection that the drop closed to the end of the last one.
    cuts_ns: int
    connections: int
    #: Nanoseconds from the drop's instant until each subscription was ready again, ascending; NEVER if it was not.
    times_ns: Ints

    def to_dict(self) -> dict[str, Any]:
        """Return the figures; ``to_90_ns`` is None if fewer than 90 % of the subscriptions became ready again."""
        known = self.times_ns[self.times_ns < NEVER]
        return {
            "group": self.group,
            "drop": self.number,
            "at_ns": self.at_ns,
            "cuts_ns": self.cuts_ns,
            "connections": self.connections,
            "subscriptions": len(self.times_ns),
            "ready_again": len(known),
            **{f"to_{share}_ns": self.after_ns(share) for share in _SHARES},
            "to_all_ns": self.after_ns(100),
        }

    def after_ns(self, share: float) -> int | None:
        """Return the time (ns) until ``share`` % of the subscriptions were ready again, or None if too few were."""
        if not len(self.times_ns):
            return None
        time_ns = nearest_rank(self.times_ns, share)
        return None if time_ns == NEVER else time_ns


@dataclass(frozen=True)
class Reconnects:
    """Attempts to connect again after a drop or a loss; coming back after leaving is not counted."""

    attempts: int
    failed: int
    #: Maximum number of attempts begun in one second. `peak_at_ns` is the start of that second.
    peak_per_s: int | None
    peak_at_ns: int | None


@dataclass(frozen=True)
class OnPurpose:
    """Interruptions that the scenario asked for: `dropped` and `left` connections, `unsubscribed` subscriptions."""

    dropped: int
    left: int
    unsubscribed: int
    slow_clients: int


@lru_cache(maxsize=1)
def drops(run: Run) -> tuple[Drop, ...]:
    """Return the drops of a run in order of their instants; the last result is cached."""
    names = ("connection", "group", "closed_ns", "intent")
    table = run.table("connections", names)
    closed_ns, (group, groups) = ints(table, "closed_ns"), codes(table, "group")
    intent, intents = codes(table, "intent")
    lives = _lives_of_subscriptions(run)
    found = []
    for code, text in enumerate(intents):
        match = _DROP.fullmatch(text or "")
        if match is None:
            continue
        for of in np.unique(group[intent == code]).tolist():
            rows = (intent == code) & (group == of) & (closed_ns >= 0)
            if not rows.any():
                continue
            at_ns = int(closed_ns[rows].min())
            times_ns = lives.ready_again_ns(groups[of], text) - at_ns
            times_ns[times_ns > NEVER - at_ns - 1] = NEVER
            found.append(
                Drop(
                    str(groups[of]),
                    int(match[1]),
                    at_ns,
                    int(closed_ns[rows].max()) - at_ns,
                    int(np.count_nonzero(rows)),
                    np.sort(times_ns),
                )
            )
    return tuple(sorted(found, key=lambda drop: (drop.at_ns, drop.group, drop.number)))


@dataclass(frozen=True)
class _Lives:
    """Lives of subscriptions (each reconnect begins a new one), sorted by subscription and then by time."""

    subscription: Ints
    ready_ns: Ints
    intent: Ints
    intents: list[str | None]
    group: Ints
    groups: list[str | None]

    def ready_again_ns(self, group: str | None, intent: str | None) -> Ints:
        """Return, for each subscription that its client ended on purpose, the time (ns) at which it was ready again.

        The time is NEVER if it was not ready again. Included are only the subscriptions in ``group`` that had been
        ready, and whose recorded reason for ending is ``intent``.
        """
        following = _next_known(self.subscription, self.ready_ns)
        ended = (self.intent == self.intents.index(intent)) if intent in self.intents else None
        if ended is None:
            return np.empty(0, dtype=np.int64)
        chosen = ended & (self.group == self.groups.index(group)) & (self.ready_ns >= 0)
        times_ns: Ints = following[chosen]
        return times_ns


def _lives_of_subscriptions(run: Run) -> _Lives:
    names = ("subscription", "life", "turn", "group", "ready_ns", "intent")
    table = run.table("subscriptions", names)
    order = np.lexsort((ints(table, "turn"), ints(table, "life"), ints(table, "subscription")))
    intent, intents = codes(table, "intent")
    group, groups = codes(table, "group")
    return _Lives(
        ints(table, "subscription")[order],
        ints(table, "ready_ns")[order],
        intent[order],
        intents,
        group[order],
        groups,
    )


def _next_known(subscription: Ints, ready_ns: Ints) -> Ints:
    """Return for each row the next ready time among later rows of the same subscription, or NEVER if there is none."""
    following = np.full(len(subscription), NEVER, dtype=np.int64)
    latest, of = NEVER, -1
    for place in range(len(subscription) - 1, -1, -1):
        if subscription[place] != of:
            latest, of = NEVER, int(subscription[place])
        following[place] = latest
        if ready_ns[place] >= 0:
            latest = int(ready_ns[place])
    return following


def reconnects(run: Run) -> Reconnects:
    """Return the attempts of all clients to connect again after a drop or a loss."""
    table = run.table("connections", ("connection", "life", "started_ns", "acknowledged_ns", "intent"))
    connection, life = ints(table, "connection"), ints(table, "life")
    order = np.lexsort((life, connection))
    intent, intents = codes(table, "intent")
    left = np.array([text == LEAVE for text in intents], dtype=bool)
    intent, connection = intent[order], connection[order]
    started_ns, acknowledged_ns = (ints(table, name)[order] for name in ("started_ns", "acknowledged_ns"))
    # The connection that an attempt is to restore: the client's last accepted one.
    place = np.arange(len(connection))
    established = np.maximum.accumulate(np.where(acknowledged_ns >= 0, place, -1))
    before = np.concatenate(([-1], established[:-1])).astype(np.int64)[: len(connection)]
    known = before >= 0
    known[known] = connection[before[known]] == connection[known]
    again = known.copy()
    again[known] = ~left[intent[before[known]]]
    started_ns, failed = np.sort(started_ns[again]), int(np.count_nonzero(again & (acknowledged_ns < 0)))
    if not len(started_ns):
        return Reconnects(0, 0, None, None)
    within = np.searchsorted(started_ns, started_ns + SECOND_NS, side="left") - np.arange(len(started_ns))
    peak = int(np.argmax(within))
    return Reconnects(len(started_ns), failed, int(within[peak]), int(started_ns[peak]))


def on_purpose(run: Run) -> OnPurpose:
    """Return the numbers of drops, leaves and unsubscribes that the scenario asked for, and of slow clients."""
    connections = run.table("connections", ("connection", "intent", "slow"))
    counts = _counted(*codes(connections, "intent"))
    changes = _counted(*codes(run.table("subscriptions", ("intent",)), "intent"))
    slow = ints(connections, "connection")[ints(connections, "slow") > 0]
    return OnPurpose(
        sum(count for text, count in counts.items() if _DROP.fullmatch(text)),
        counts.get(LEAVE, 0),
        changes.get(UNSUBSCRIBE, 0),
        len(np.unique(slow)),
    )


def _counted(code: Ints, names: list[str | None]) -> dict[str, int]:
    counts = np.bincount(code, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True) if name is not None}


def summarise(run: Run) -> dict[str, Any] | None:
    """Return the section `recovery` of summary.json, or None if no client was dropped, lost, away or slow."""
    purpose, again, found = on_purpose(run), reconnects(run), drops(run)
    if not any(asdict(purpose).values()) and not again.attempts:
        return None
    return {
        "on_purpose": asdict(purpose),
        "drops": [drop.to_dict() for drop in found],
        "reconnects": asdict(again),
        "missed": _missed(run),
    }


def _missed(run: Run) -> dict[str, Any] | None:
    """Return how many events of the measure phase were missed after drops, or None if there was no measure phase.

    The result has the total, and percentiles over the subscriptions that were dropped.
    """
    window = run.measure
    if window is None or window.seconds <= 0:
        return None
    lives = _lives_of_subscriptions(run)
    cut = np.array([bool(_DROP.fullmatch(text or "")) for text in lives.intents], dtype=bool)
    dropped = np.unique(receivers_of(run).of(lives.subscription[cut[lives.intent] & (lives.ready_ns >= 0)]))
    rows = reconcile(run, window).breakdown.rows["subscription"]
    missed = rows.counts["missed_in_gap"]
    missed_by = dict(zip(rows.keys, missed.tolist(), strict=True))
    values = np.sort(np.array([missed_by.get(str(number), 0) for number in dropped.tolist()], dtype=np.int64))
    points = {f"p{point}": nearest_rank(values, point) if len(values) else None for point in _SHARES}
    return {
        "events": int(missed.sum()),
        "subscriptions": len(values),
        **points,
        "max": int(values[-1]) if len(values) else None,
    }


def times_ns(run: Run) -> tuple[Ints, Ints]:
    """Return two arrays over all drops: recovery times, and waits of subscriptions that never recovered (in ns)."""
    pooled = [drop.times_ns for drop in drops(run)]
    known = [times[times < NEVER] for times in pooled]
    end_ns = _record_end_ns(run)
    waited = [
        np.full(int(np.count_nonzero(times == NEVER)), max(0, end_ns - drop.at_ns), dtype=np.int64)
        for drop, times in zip(drops(run), pooled, strict=True)
    ]
    none = np.empty(0, dtype=np.int64)
    return np.concatenate([none, *known]), np.concatenate([none, *waited])


def _record_end_ns(run: Run) -> int:
    ends = [end_ns for _, end_ns in run.phases.values() if end_ns is not None]
    return max(ends, default=0)
