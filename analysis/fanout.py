"""Fan-out by event: when its first, median, 99th percentile and last subscriber had it, and whether all had."""

from functools import lru_cache
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.bounds import Bounded
from analysis.ledger import Settled
from analysis.matching import RANKS
from analysis.run import Window

LOW: Final = "_low"
HIGH: Final = "_high"


@lru_cache(maxsize=1)
def by_event(settled: Settled) -> pd.DataFrame:
    """Return one row an event that somebody should receive, by intended time.

    Columns: publisher, sequence, channel, intended_ns, expected, arrived, first_ns, median_ns, p99_ns, last_ns. The
    last four count from the intended time, over the expected deliveries that arrived (nearest rank); null: none did.
    Where arrivals are known as intervals, `first_ns_low`, `first_ns_high` and so on are between what the four lie.
    The last frame is kept, as several figures need it: it is not to be changed.
    """
    events, expected, arrived = settled.events, settled.expected, settled.arrived
    count = len(events.key)
    reached = arrived > 0
    frame = pd.DataFrame(
        {
            "publisher": events.publisher.astype(np.int32),
            "sequence": events.key & 0xFFFFFFFF,
            "channel": pd.Categorical.from_codes(
                events.channel, pd.Index([str(name) for name in events.channels])
            ),
            "intended_ns": events.intended_ns,
            "expected": expected.astype(np.int32),
            "arrived": arrived.astype(np.int32),
        }
    )
    ends = [("", settled.ranks_ns)]
    if _inexact(settled):
        ends += [(LOW, settled.ranks_low_ns), (HIGH, settled.ranks_high_ns)]
    for end, ranks_ns in ends:
        for name in RANKS:
            values = pd.array(np.zeros(count, dtype=np.int64), dtype="Int64")
            values[~reached] = pd.NA
            values[reached] = ranks_ns[name][reached]
            frame[name + end] = values
    return frame[expected > 0].sort_values("intended_ns", kind="stable", ignore_index=True)


def ranks(settled: Settled, name: str, window: Window | None = None) -> Bounded:
    """Return one rank's latencies (a name of `RANKS`) of all events, or of those of a window."""
    frame = by_event(settled)
    inside = frame[name].notna().to_numpy()
    if window is not None:
        intended_ns = frame["intended_ns"].to_numpy()
        inside = inside & (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
    values, low, high = (
        frame[name + end].to_numpy(dtype=np.int64, na_value=0)[inside] if name + end in frame else None
        for end in ("", LOW, HIGH)
    )
    assert values is not None
    return Bounded.of(
        values,
        None if low is None else values - low,
        None if high is None else high - values,
        settled.ends_known,
    )


def summarise(settled: Settled) -> dict[str, Any]:
    """Return the figures over all events: percentiles of each rank, and how many reached everybody."""
    frame = by_event(settled)
    return {
        "events": len(frame),
        "complete": int((frame["arrived"] >= frame["expected"]).sum()),
        "subscribers_per_event": float(frame["expected"].mean()) if len(frame) else None,
        **{name: ranks(settled, name).percentiles() for name in RANKS},
    }


def _inexact(settled: Settled) -> bool:
    return settled.ranks_low_ns is not settled.ranks_ns
