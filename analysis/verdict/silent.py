"""Subscriptions that received none of the events expected for them: by pattern, with the likely cause.

The service or the scenario causes them, so the verdict on the measurement does not mention them. The ledger counts
their events as lost. They are reported separately because a subscription that loses everything has other causes than
single losses; for example, the service may interpret the wildcard of the pattern differently.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from analysis import text
from analysis.ledger.breakdown import Rows
from analysis.ledger.reconcile import Reconciled
from analysis.ledger.windows import Flags, Patterns
from analysis.loading.run import Run, codes, ints

LEAST_EXPECTED: Final = 3
"""A subscription that received nothing counts as silent if at least this many events were expected."""

_IMPROBABLE: Final = 0.01
_WORST_PATTERNS: Final = 10
_TOLD_PATTERNS: Final = 3
_WILDCARD: Final = "/*"

#: Likely causes of the silence; `_ADVICE` says what to do about each.
ONE_LEVEL, SOME, FILTERED, UNPROVEN, NEVER_LIVE = "one level", "some", "filtered", "unproven", "never live"
_ADVICE: Final = {
    ONE_LEVEL: "they went to channels two or more levels below, such as {channel}, and the service's '*' may stand for"
    " one level: `loadgen probe` tests it",
    SOME: "others with the same pattern received theirs, so the service may have lost these connections or"
    " subscriptions (seen on AWS where several subscribe at once): ramp more slowly, and compare",
    FILTERED: "readiness probes had reached them, so a handler may filter or rewrite the events of {channel}: try"
    " `loadgen publish {channel} … --wait`",
    UNPROVEN: "nothing shows that they were ever live, since the scenario waits a time in place of probing: let"
    " 'ready: probe' show it",
    NEVER_LIVE: "no readiness probe reached them either, so the service may not deliver to this pattern at all:"
    " `loadgen probe --channel {channel}` tests it step by step",
}


@dataclass(frozen=True)
class SilentPattern:
    """The silent subscriptions to one pattern."""

    pattern: str
    #: Number of subscriptions that received nothing (`silent`), of those that should have received events
    #: (`subscriptions`).
    silent: int
    subscriptions: int
    #: Number of events that the silent subscriptions should have received.
    expected: int
    #: Number of silent subscriptions that had received a readiness probe.
    proven: int
    #: One of the channels whose events the silent subscriptions should have received.
    channel: str
    cause: str


def summarise(run: Run, settled: Reconciled) -> dict[str, Any] | None:
    """Return the summary's `silent_subscriptions`, or None if every subscription received something.

    `worst` holds the patterns with the most expected events.
    """
    rows = settled.breakdown.rows["subscription"]
    silent = _silent(rows)
    if not silent.any():
        return None
    found = sorted(_by_pattern(run, settled, silent), key=lambda each: (-each.expected, each.pattern))
    return {
        "subscriptions": int(np.count_nonzero(silent)),
        "patterns": len(found),
        "worst": [asdict(each) for each in found[:_WORST_PATTERNS]],
    }


def _silent(rows: Rows) -> Flags:
    """Return a mask of subscriptions that received nothing although the loss rate of the others makes that unlikely."""
    expected = rows.counts["expected"]
    got = rows.counts["delivered"] + rows.counts["late"]
    nothing = (got == 0) & (expected >= LEAST_EXPECTED)
    some = got > 0
    of = int(expected[some].sum())
    share = float(rows.lost[some].sum()) / of if of else 0.0
    silent: Flags = nothing & (share ** expected.astype(np.float64) * len(expected) < _IMPROBABLE)
    return silent


def _by_pattern(run: Run, settled: Reconciled, silent: Flags) -> Iterator[SilentPattern]:
    rows = settled.breakdown.rows["subscription"]
    numbers = np.array([int(key) for key in rows.keys], dtype=np.int64)
    expected = rows.counts["expected"]
    table = run.table("subscriptions", ("subscription", "channel", "probed_ns", "ready_ns"))
    code, patterns = codes(table, "channel")
    place = np.searchsorted(numbers, ints(table, "subscription"))
    known = (place < len(numbers)) & (
        numbers[np.minimum(place, len(numbers) - 1)] == ints(table, "subscription")
    )
    code_of = np.full(len(numbers), -1, dtype=np.int64)
    code_of[place[known]] = code[known]
    probed = (ints(table, "probed_ns") >= 0) & (ints(table, "ready_ns") >= 0) & known
    proven = np.zeros(len(numbers), dtype=bool)
    proven[place[probed]] = True
    has_probes = bool((ints(table, "probed_ns") >= 0).any())
    channels = _channels_of(settled, patterns)
    for number in np.unique(code_of[silent]).tolist():
        pattern = patterns[number] if number >= 0 else None
        if pattern is None:
            continue
        its = code_of == number
        these = silent & its
        many, of = int(np.count_nonzero(these)), int(np.count_nonzero(its & (expected > 0)))
        live = int(np.count_nonzero(these & proven))
        reached = channels.get(number, [])
        yield SilentPattern(
            pattern,
            many,
            of,
            int(expected[these].sum()),
            live,
            min(reached, default=""),
            _cause(pattern, reached, many, of, live, has_probes),
        )


def _channels_of(settled: Reconciled, patterns: list[str | None]) -> dict[int, list[str]]:
    """Map the code of each pattern to the channels whose events its subscriptions should have received."""
    rows = settled.breakdown.rows["channel"]
    matching = Patterns(patterns)
    found: dict[int, list[str]] = {}
    for channel, expected in zip(rows.keys, rows.counts["expected"].tolist(), strict=True):
        if expected:
            for number in matching.matching(channel):
                found.setdefault(number, []).append(channel)
    return found


def _cause(pattern: str, channels: list[str], silent: int, of: int, proven: int, has_probes: bool) -> str:
    if silent < of:
        return SOME
    if channels and pattern.endswith(_WILDCARD):
        prefix = len(pattern) - len(_WILDCARD)
        if all(channel[prefix:].count("/") > 1 for channel in channels):
            return ONE_LEVEL
    if proven:
        return FILTERED
    return NEVER_LIVE if has_probes else UNPROVEN


def notes(summary: Mapping[str, Any]) -> list[str]:
    """Return sentences on silent subscriptions: one for each of the worst channel patterns, and one for all others."""
    found = summary.get("silent_subscriptions")
    if found is None:
        return []
    lines = [_sentence(each) for each in found["worst"][:_TOLD_PATTERNS]]
    rest = found["patterns"] - len(lines)
    if rest:
        told = sum(each["silent"] for each in found["worst"][: len(lines)])
        lines.append(
            f"{found['subscriptions'] - told:,} subscriptions to {rest:,} further"
            f" {'pattern' if rest == 1 else 'patterns'} received nothing either"
        )
    return lines


def _sentence(entry: dict[str, Any]) -> str:
    pattern, channel = text.clean(entry["pattern"]), text.clean(entry["channel"])
    whose = f"{entry['silent']:,} of {entry['subscriptions']:,} subscriptions"
    if entry["subscriptions"] == 1:
        whose = "the subscription"
    advice = _ADVICE[entry["cause"]].format(channel=channel)
    return f"{whose} to {pattern} received none of {entry['expected']:,} expected events: {advice}"
