"""Fan-out by event: when its first, median, 99th percentile and last subscriber had it, and whether all had."""

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from analysis.ledger import Settled
from analysis.matching import RANKS
from analysis.percentiles import Percentiles


@lru_cache(maxsize=1)
def by_event(settled: Settled) -> pd.DataFrame:
    """Return one row an event that somebody should receive, by intended time.

    Columns: publisher, sequence, channel, intended_ns, expected, arrived, first_ns, median_ns, p99_ns, last_ns. The
    last four count from the intended time, over the expected deliveries that arrived (nearest rank); null: none did.
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
    for name in RANKS:
        values = pd.array(np.zeros(count, dtype=np.int64), dtype="Int64")
        values[~reached] = pd.NA
        values[reached] = settled.ranks_ns[name][reached]
        frame[name] = values
    return frame[expected > 0].sort_values("intended_ns", kind="stable", ignore_index=True)


def summarise(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the figures over all events: percentiles of each rank, and how many reached everybody."""
    return {
        "events": len(frame),
        "complete": int((frame["arrived"] >= frame["expected"]).sum()),
        "subscribers_per_event": float(frame["expected"].mean()) if len(frame) else None,
        **{name: Percentiles.of(frame[name].dropna().to_numpy(dtype=np.int64)).to_dict() for name in RANKS},
    }
