"""Fan-out by event: when its first, median, 99th percentile and last subscriber received it, and whether all did.

Each of these four is called a rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from analysis.figures.bounds import Bounded
from analysis.ledger.ranks import RANKS
from analysis.ledger.reconcile import Reconciled
from analysis.loading.run import Ints, Window

if TYPE_CHECKING:
    import pandas as pd

LOW: Final = "_low"
HIGH: Final = "_high"


@dataclass(frozen=True, eq=False)
class Fanout:
    """One row for each event with an expected delivery, by intended time. Read-only: several figures share it.

    `ranks_ns` holds latencies from the intended time, over the expected deliveries that arrived (nearest rank); they
    are meaningless if none did. If arrivals are known only as intervals, `first_ns_low` and `first_ns_high` hold the
    lowest and the highest possible `first_ns`, and so on.
    """

    publisher: npt.NDArray[np.int32]
    sequence: Ints
    #: Index of each event's channel in `channels`.
    channel: Ints
    channels: Sequence[str]
    intended_ns: Ints
    expected: npt.NDArray[np.int32]
    arrived: npt.NDArray[np.int32]
    #: first_ns, median_ns, p99_ns and last_ns; if arrivals are known only as intervals, also first_ns_low and so on.
    ranks_ns: Mapping[str, Ints]

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, settled: Reconciled) -> "Fanout":
        """Build the rows from a ledger; the last result is cached."""
        events = settled.events
        wanted = np.flatnonzero(settled.expected > 0)
        wanted = wanted[np.argsort(events.intended_ns[wanted], kind="stable")]
        ends = [("", settled.ranks_ns)]
        if _inexact(settled):
            ends += [(LOW, settled.ranks_low_ns), (HIGH, settled.ranks_high_ns)]
        return cls(
            events.publisher[wanted].astype(np.int32),
            events.key[wanted] & 0xFFFFFFFF,
            events.channel[wanted],
            [str(name) for name in events.channels],
            events.intended_ns[wanted],
            settled.expected[wanted].astype(np.int32),
            settled.arrived[wanted].astype(np.int32),
            {name + end: ranks_ns[name][wanted] for end, ranks_ns in ends for name in RANKS},
        )

    @cached_property
    def reached(self) -> npt.NDArray[np.bool_]:
        """Mask of the events that arrived at least once: only these have latencies."""
        return self.arrived > 0

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A DataFrame with one row for each event; latencies are null if no expected subscriber received the event."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "publisher": self.publisher,
                "sequence": self.sequence,
                "channel": pd.Categorical.from_codes(self.channel, pd.Index(list(self.channels))),
                "intended_ns": self.intended_ns,
                "expected": self.expected,
                "arrived": self.arrived,
            }
        )
        for name, values in self.ranks_ns.items():
            frame[name] = pd.arrays.IntegerArray(values.astype(np.int64), ~self.reached)
        return frame


def by_event(settled: Reconciled) -> "pd.DataFrame":
    """Return one row for each event with an expected delivery, by intended time.

    Columns: publisher, sequence, channel, intended_ns, expected, arrived, first_ns, median_ns, p99_ns, last_ns; see
    `Fanout`. Do not modify the DataFrame, which is shared.
    """
    return Fanout.of(settled).frame


def ranks(settled: Reconciled, name: str, window: Window | None = None) -> Bounded:
    """Return the latencies (ns) of a rank (a name in `RANKS`) over all events, or over those due in a window."""
    rows = Fanout.of(settled)
    inside = rows.reached
    if window is not None:
        inside = inside & (rows.intended_ns >= window.start_ns) & (rows.intended_ns < window.end_ns)
    values, low, high = (
        rows.ranks_ns[name + end][inside] if name + end in rows.ranks_ns else None for end in ("", LOW, HIGH)
    )
    assert values is not None
    return Bounded.of(
        values,
        None if low is None else values - low,
        None if high is None else high - values,
        settled.ends_known,
    )


def summarise(settled: Reconciled) -> dict[str, Any]:
    """Return percentiles of each rank over all events, and the number of events that reached all subscribers."""
    rows = Fanout.of(settled)
    count = len(rows.expected)
    return {
        "events": count,
        "complete": int(np.count_nonzero(rows.arrived >= rows.expected)),
        "subscribers_per_event": float(rows.expected.mean()) if count else None,
        **{name: ranks(settled, name).percentiles() for name in RANKS},
    }


def _inexact(settled: Reconciled) -> bool:
    return settled.ranks_low_ns is not settled.ranks_ns
