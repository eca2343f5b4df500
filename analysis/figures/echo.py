"""Evaluate the workers' echoes: service latency on one clock, and the bounds that it sets on errors between two clocks.

On its echo lane a worker publishes to a channel to which only it subscribes, and times the round trip of each event (an
echo).

Let e_A be the error of worker A's clock after correction, and L(A,B) the true time from a send on A to the arrival on
B. The record then shows m(A,B) = L(A,B) + e_B - e_A for events from A to B, and m(B,A) = L(B,A) + e_A - e_B.

- Their sum is free of clock errors: m(A,B) + m(B,A) = L(A,B) + L(B,A).
- Half their difference is e_B - e_A plus half of L(A,B) - L(B,A). Neither L is negative, so they differ by at most
  their sum. So e_B - e_A is at most half the sum away from half the difference.
- If B publishes nothing to A, compare with the events that A received from its own publishers: m(A,B) - m(A,A) is
  e_B - e_A plus the time from the service to B minus the time from the service to A. The echoes L(B,B) and L(A,A)
  contain these times and so bound them.

An echo is one event to one subscription. An event of the scenario with many subscribers takes the same path, and each
of its deliveries also waits until the service has sent the earlier ones. This adds (m(A,B) + m(B,A)) / 2 - (L(A,A) +
L(B,B)) / 2, which is free of clock errors too. L and m are medians throughout.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from analysis import text
from analysis.figures.percentiles import Percentiles, nearest_rank
from analysis.limits import LIMITS
from analysis.loading.run import Ints, Run, Window, ints

#: Maximum number of deliveries read to compare the latencies between workers; if there are more, evenly spaced row
#: groups are read.
_MOST_ROWS = 4_000_000
#: Minimum number of deliveries from one worker to another for which their median is compared.
_ENOUGH = 20
#: Maximum number of pairs of workers in the summary: those whose latencies the clock errors explain least.
_PAIRS_KEPT = 10
#: A pair of workers is doubtful if more than this share of the possible path asymmetry would be needed to explain its
#: latencies (see `unexplained_share`). At 0.5, one direction takes three times as long as the other.
_DOUBTFUL_SHARE = 0.5
_NAMES = ("worker", "sequence", "intended_ns", "sent_ns", "arrival_ns")
_COUNTS = ("sent", "returned", "connects", "subscribes")


def counted(run: Run) -> dict[str, int]:
    """Return the echo lanes' counts over the whole run, summed over the workers that reported them.

    The keys are `sent`, `returned`, `connects` and `subscribes`, and `messages`: the number of billing units
    (`message_unit_bytes` of the record's prices) of one echo.
    """
    unit_bytes = (run.manifest.get("prices") or {}).get("message_unit_bytes") or 0
    lanes = [lane for lane in _lanes(run).values() if lane is not None]
    total = {name: sum(int(lane[name]) for lane in lanes) for name in _COUNTS}
    size = max((int(lane["payload_bytes"]) for lane in lanes), default=0)
    return {**total, "messages": -(-size // unit_bytes) if unit_bytes and size else 1}


def summarise(run: Run, window: Window | None) -> dict[str, Any] | None:
    """Return the summary's `echo`, or None if no worker measured echoes of its own events."""
    table = run.table("echo", _NAMES, window)
    worker, _, _, sent_ns, arrival_ns = (ints(table, name) for name in _NAMES)
    lanes = _lanes(run)
    if not len(worker) and not any(lane is not None for lane in lanes.values()):
        return None
    each = []
    medians: dict[int, int] = {}
    for number, lane in lanes.items():
        its = worker == number
        if lane is None and not its.any():
            continue
        back = its & (arrival_ns >= 0)
        found = Percentiles.of((arrival_ns - sent_ns)[back])
        if found.p50 is not None:
            medians[number] = found.p50
        lane = lane or {}
        each.append(
            {
                "worker": number,
                "sent": int(np.count_nonzero(its)),
                "returned": int(np.count_nonzero(back)),
                "service_ns": found.to_dict(),
                "via": lane.get("via"),
                "note": lane.get("note"),
                "errors": lane.get("errors", {}),
            }
        )
    pairs, looked_at = ([], 0) if window is None else _pairs(run, window, medians)
    return {"each": each, "pairs": pairs[:_PAIRS_KEPT], "pairs_compared": len(pairs), "deliveries": looked_at}


def _lanes(run: Run) -> dict[int, Mapping[str, Any] | None]:
    return {entry["worker"]: entry.get("echo") for entry in run.manifest["workers"]}


def _pairs(run: Run, window: Window, echo_ns: Mapping[int, int]) -> tuple[list[dict[str, Any]], int]:
    """Return the pairs of workers that can be compared, and the number of deliveries read.

    Pairs are sorted by `unexplained_share`, largest first. Two workers that both share the master's clock are not
    compared: they have one clock.
    """
    clocks = run.clocks
    if all(fit.shared for fit in clocks.values()):
        return [], 0
    between, looked_at = _medians(run, window)
    pairs = []
    numbers = sorted(clocks)
    for place, a in enumerate(numbers):
        for b in numbers[place + 1 :]:
            if clocks[a].shared and clocks[b].shared:
                continue
            errors = (clocks[a].error_ns, clocks[b].error_ns)
            error_ns = None if errors[0] is None or errors[1] is None else errors[0] + errors[1]
            pair = _pair(a, b, between, echo_ns, error_ns)
            if pair is not None:
                pairs.append(pair)
    pairs.sort(key=lambda pair: -(unexplained_share(pair) or 0.0))
    return pairs, looked_at


def _pair(
    a: int,
    b: int,
    between: Mapping[tuple[int, int], tuple[int, int]],
    echo_ns: Mapping[int, int],
    error_ns: int | None,
) -> dict[str, Any] | None:
    """Return the comparison of the clocks of workers ``a`` and ``b``, or None if too few latencies are known.

    ``apparent_ns`` estimates how far b's clock is ahead of a's after correction, assuming equal travel times from a to
    b and from b to a. ``asymmetry_ns`` is the largest error of this estimate if the travel times are not equal.
    """
    there, back = between.get((a, b)), between.get((b, a))
    own_ns = (echo_ns[a] + echo_ns[b]) / 2 if a in echo_ns and b in echo_ns else None
    fanout_ns = None
    if there is not None and back is not None:
        apparent_ns, asymmetry_ns = (there[0] - back[0]) / 2, (there[0] + back[0]) / 2
        fanout_ns = None if own_ns is None else asymmetry_ns - own_ns
    elif own_ns is None:
        return None
    elif there is not None and (beside := between.get((a, a))) is not None:
        apparent_ns = there[0] - beside[0] - (echo_ns[b] - echo_ns[a]) / 2
        asymmetry_ns = own_ns
    elif back is not None and (beside := between.get((b, b))) is not None:
        apparent_ns = -(back[0] - beside[0] - (echo_ns[a] - echo_ns[b]) / 2)
        asymmetry_ns = own_ns
    else:
        return None
    return {
        "workers": [a, b],
        "there_ns": None if there is None else there[0],
        "back_ns": None if back is None else back[0],
        "deliveries": [0 if way is None else way[1] for way in (there, back)],
        "echo_ns": None if own_ns is None else round(own_ns),
        "fanout_ns": None if fanout_ns is None else round(fanout_ns),
        "apparent_ns": round(apparent_ns),
        "asymmetry_ns": round(asymmetry_ns),
        "error_ns": error_ns,
    }


def unexplained_share(pair: Mapping[str, Any]) -> float | None:
    """Return the share of the possible path asymmetry that would explain the apparent clock error.

    First the known bound on the errors of both clocks is subtracted from the apparent error. The rest is divided by the
    largest error that unequal delays of the two directions can cause. 0 means that there is no rest. Above 1, unequal
    delays cannot explain it either: one direction would need a negative delay. Returns None without a known bound.
    """
    if pair["error_ns"] is None:
        return None
    left_ns = abs(pair["apparent_ns"]) - pair["error_ns"]
    if left_ns <= 0:
        return 0.0
    return float(left_ns / pair["asymmetry_ns"]) if pair["asymmetry_ns"] > 0 else float("inf")


def _medians(run: Run, window: Window) -> tuple[dict[tuple[int, int], tuple[int, int]], int]:
    """Return the median service latency and the number of deliveries by pair of workers, and the number of rows read.

    A pair is (the publisher's worker, the receiver's worker).
    """
    events = run.table("events", ("publisher", "worker"))
    publishers, first = np.unique(ints(events, "publisher"), return_index=True)
    if not len(publishers):
        return {}, 0
    homes = ints(events, "worker")[first]
    groups = [g for g in run.row_groups if g.start_ns < window.end_ns and g.end_ns > window.start_ns]
    stride = max(1, -(-sum(group.rows for group in groups) // _MOST_ROWS))
    pairs: list[Ints] = []
    latencies: list[Ints] = []
    for group in groups[::stride]:
        names = ("worker", "publisher", "sent_ns", "arrival_ns")
        _, table = run.deliveries_in(names, window, group)
        worker, publisher, sent_ns, arrival_ns = (ints(table, name) for name in names)
        place = np.minimum(np.searchsorted(publishers, publisher), len(publishers) - 1)
        known = (publishers[place] == publisher) & (sent_ns >= 0)
        pairs.append(((homes[place] << 16) | worker)[known])
        latencies.append((arrival_ns - sent_ns)[known])
    if not pairs:
        return {}, 0
    pair, latency_ns = np.concatenate(pairs), np.concatenate(latencies)
    order = np.lexsort((latency_ns, pair))
    pair, latency_ns = pair[order], latency_ns[order]
    codes, begins = np.unique(pair, return_index=True)
    parts = np.split(latency_ns, begins[1:])
    found = {
        (int(code) >> 16, int(code) & 0xFFFF): (nearest_rank(part, 50), len(part))
        for code, part in zip(codes, parts, strict=True)
        if len(part) >= _ENOUGH
    }
    return found, len(pair)


def doubts(echo: Mapping[str, Any] | None) -> Iterator[tuple[str, str, str]]:
    """Yield (severity, reason, advice) for pairs of workers whose latencies the stated clock error cannot explain."""
    if echo is None:
        return
    for pair in echo["pairs"]:
        share = unexplained_share(pair)
        left_ns = abs(pair["apparent_ns"]) - (pair["error_ns"] or 0)
        if share is None or share <= _DOUBTFUL_SHARE or left_ns <= LIMITS.clock_ns:
            continue
        a, b = pair["workers"]
        said = (
            f"what workers {a} and {b} received of each other contradicts their clocks' ±{_ns(pair['error_ns'])}:"
            f" {_ways(pair)}, as if they were {_ns(abs(pair['apparent_ns']))} apart;"
        )
        if share > 1:
            yield (
                "invalid",
                f"{said} no delay explains that, one way would take less than no time",
                "a clock is off by more than its pings show: check what sets the hosts' clocks, and run again",
            )
        else:
            yield (
                "degraded",
                f"{said} without that, one way would take more than three times as long as the other",
                "check the hosts' clocks, and whether one worker is so busy that what it sends waits there",
            )


def notes(echo: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield notes for the reader on missing echoes and on the comparison of clocks."""
    if echo is None:
        return
    troubles: dict[str, list[int]] = {}
    for lane in echo["each"]:
        if lane["note"]:
            troubles.setdefault(text.clean(lane["note"]), []).append(lane["worker"])
        elif lane["returned"] < lane["sent"]:
            why = next(iter(lane["errors"]), None)
            yield (
                f"echo: {lane['sent'] - lane['returned']:,} of {lane['sent']:,} of worker {lane['worker']} did not come"
                f" back{'' if why is None else f' ({text.clean(why)})'}; they are in no figure of the scenario"
            )
    for note, workers in troubles.items():
        who = ", ".join(map(str, workers))
        yield f"no echo of worker{'s' if len(workers) > 1 else ''} {who}: {note}"
    if echo["pairs"]:
        worst = max(echo["pairs"], key=lambda pair: abs(pair["apparent_ns"]))
        a, b = worst["workers"]
        known = "not known" if worst["error_ns"] is None else f"±{_ns(worst['error_ns'])}"
        fanout = (
            ""
            if worst["fanout_ns"] is None
            else f"; half the sum is {_ns(worst['there_ns'] + worst['back_ns'], 2)}, beside {_ns(worst['echo_ns'])} of"
            " the echoes, both without a clock error"
        )
        yield (
            f"between workers {a} and {b}: {_ways(worst)}; if both ways take equal time their clocks are"
            f" {_ns(abs(worst['apparent_ns']))} apart after correction, known to {known}{fanout}"
        )


def _ways(pair: Mapping[str, Any]) -> str:
    """Return, as part of a sentence, the median latencies between two workers, in both directions."""
    a, b = pair["workers"]
    ways = [
        f"{_ns(pair[key])} from {start} to {end}"
        for key, start, end in (("there_ns", a, b), ("back_ns", b, a))
        if pair[key] is not None
    ]
    return f"service p50 {' and '.join(ways)}"


def _ns(value: float | None, divide: int = 1) -> str:
    return text.duration(None if value is None else value / divide)


COLUMNS = ("echo, one clock (arrival − sent)", "p50", "p99", "max", "came back")


def rows(echo: Mapping[str, Any], most: int | None = None) -> list[tuple[str, ...]]:
    """Return the rows of the table of echo lanes as text, with columns `COLUMNS`: up to ``most`` of the slowest."""
    lanes = [lane for lane in echo["each"] if lane["sent"]]
    if most is not None and len(lanes) > most:
        longest = sorted(lanes, key=lambda lane: -(lane["service_ns"]["p99"] or 0))[:most]
        lanes = sorted(longest, key=lambda lane: lane["worker"])
    return [
        (
            f"worker {lane['worker']}",
            *(text.duration(lane["service_ns"][name]) for name in ("p50", "p99", "max")),
            f"{lane['returned']:,} of {lane['sent']:,}",
        )
        for lane in lanes
    ]
