"""Fan-out by event: when its first, median, 99th percentile and last subscriber received it, and whether all did.

Each of these four is called a rank.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis import extras
from analysis.figures.bounds import Bounded, Collector
from analysis.ledger.parts import HIGH, LOW, Part
from analysis.ledger.ranks import RANKS
from analysis.ledger.reconcile import Reconciled
from analysis.loading.room import Room
from analysis.loading.run import Ints, Window

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Fanout:
    """One row for each event with an expected delivery, in order of intended time.

    Do not modify the arrays, which several figures share. `ranks_ns` holds for each event percentiles (nearest rank) of
    the latencies of its expected deliveries that arrived, from the intended time. If none arrived, the event's values
    are meaningless. If arrivals are known only as intervals, each array has a lower and an upper bound too, such as
    `first_ns_low` and `first_ns_high` for `first_ns`.
    """

    publisher: npt.NDArray[np.int32]
    sequence: Ints
    #: Index of each event's channel in `channels`.
    channel: Ints
    channels: Sequence[str]
    intended_ns: Ints
    expected: npt.NDArray[np.int32]
    arrived: npt.NDArray[np.int32]
    #: Arrays by name: first_ns, median_ns, p99_ns and last_ns; with uncertain arrivals also first_ns_low and so on.
    ranks_ns: Mapping[str, Ints]

    @classmethod
    def of(cls, part: Part) -> "Fanout":
        """Build the rows from one part of a run's events (see `analysis.ledger.parts`)."""
        events = part.events
        wanted = np.flatnonzero(part.expected > 0)
        wanted = wanted[np.argsort(events.intended_ns[wanted], kind="stable")]
        ends = [("", part.ranks_ns)]
        if part.ranks_low_ns is not part.ranks_ns:
            ends += [(LOW, part.ranks_low_ns), (HIGH, part.ranks_high_ns)]
        return cls(
            events.publisher[wanted].astype(np.int32),
            events.key[wanted] & 0xFFFFFFFF,
            events.channel[wanted],
            [str(name) for name in events.channels],
            events.intended_ns[wanted],
            part.expected[wanted].astype(np.int32),
            part.arrived[wanted].astype(np.int32),
            {name + end: ranks_ns[name][wanted] for end, ranks_ns in ends for name in RANKS},
        )

    @cached_property
    def reached(self) -> npt.NDArray[np.bool_]:
        """Mask of the events that arrived at least once: only these have latencies."""
        return self.arrived > 0

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """A DataFrame with one row for each event; latencies are null if no expected subscriber received the event."""
        extras.require("pandas", "a table as DataFrame")
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


@lru_cache(maxsize=1)
def by_event(settled: Reconciled) -> "pd.DataFrame":
    """Return one row for each event with an expected delivery, in order of intended time; keep all in memory.
    Columns: publisher, sequence, channel, intended_ns, expected, arrived, first_ns, median_ns, p99_ns, last_ns; see
    `Fanout`. Do not modify the DataFrame, which is shared: the last result is cached.
    """
    return Fanout.of(settled.whole).frame


def ranks(settled: Reconciled, name: str, window: Window | None = None) -> Bounded:
    """Return the latencies (ns) of a rank (a name in `RANKS`) over all events, or over those due in a time window."""
    return _collected(settled, (name,), window)[name]


def _collected(settled: Reconciled, names: Sequence[str], window: Window | None = None) -> dict[str, Bounded]:
    """Return the result of `ranks` for each of several rank names, by name, in one pass over the events."""
    room = Room()
    found = {name: Collector(settled.ends_known, room) for name in names}
    for part in settled.parts:
        inside = (part.expected > 0) & (part.arrived > 0)
        if window is not None:
            intended_ns = part.events.intended_ns
            inside &= (intended_ns >= window.start_ns) & (intended_ns < window.end_ns)
        exact = part.ranks_low_ns is part.ranks_ns
        for name, collector in found.items():
            values = part.ranks_ns[name][inside]
            if exact:
                collector.add(values)
            else:
                low, high = (ends[name][inside] for ends in (part.ranks_low_ns, part.ranks_high_ns))
                collector.add(values, values - low, high - values)
    return {name: collector.done() for name, collector in found.items()}


def summarise(settled: Reconciled) -> dict[str, Any]:
    """Return percentiles of each rank over all events, and the number of events that reached all subscribers."""
    count = complete = people = 0
    for part in settled.parts:
        owed = part.expected > 0
        count += int(np.count_nonzero(owed))
        complete += int(np.count_nonzero(part.arrived[owed] >= part.expected[owed]))
        people += int(part.expected[owed].sum())
    found = _collected(settled, tuple(RANKS))
    return {
        "events": count,
        "complete": complete,
        "subscribers_per_event": people / count if count else None,
        **{name: found[name].percentiles() for name in RANKS},
    }
