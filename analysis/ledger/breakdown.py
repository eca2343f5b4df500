"""Break the ledger down by publisher, channel and subscription.

A segment is a stretch of time in which one subscription was in one state, such as ready or in reconnect (see
`analysis.ledger.windows`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis import extras
from analysis.ledger.events import Events
from analysis.ledger.losses import (
    BEFORE_READY,
    IN_RECONNECT,
    MISSED_AWAY,
    MISSED_IN_GAP,
    OTHERWISE,
    UNOBSERVED,
)
from analysis.loading.run import Ints

if TYPE_CHECKING:
    import pandas as pd


DIMENSIONS = ("publisher", "channel", "subscription")
LOST_COUNTS = {
    "lost_before_ready": BEFORE_READY,
    "lost_in_reconnect": IN_RECONNECT,
    "lost_otherwise": OTHERWISE,
}
MISSED_COUNTS = {"missed_in_gap": MISSED_IN_GAP, "missed_away": MISSED_AWAY, "unobserved": UNOBSERVED}
COUNTS = ("expected", "delivered", "late", *LOST_COUNTS, *MISSED_COUNTS, "duplicates", "reordered")
#: Name of the count of altered deliveries; it exists only if the run checked the content of deliveries.
ALTERED = "altered"


@dataclass(frozen=True)
class Rows:
    """The rows of one dimension: distinct keys (numbers or names), and for each name in `COUNTS` one count per row.

    There are counts of `ALTERED` too if the run checked the content of deliveries.
    """

    keys: Sequence[str]
    counts: Mapping[str, Ints]

    @property
    def lost(self) -> Ints:
        """Number of losses in each row, over all classes of loss."""
        first, *others = (self.counts[name] for name in LOST_COUNTS)
        return sum(others, start=first)


@dataclass(frozen=True)
class Breakdown:
    """The ledger's counts for each publisher, channel and subscription."""

    #: Rows by dimension, in the order of `DIMENSIONS`.
    rows: Mapping[str, Rows]
    #: Number of duplicates of unrecorded events, whose publisher and channel are unknown. `rows` has them by
    #: subscription only.
    duplicates_unrecorded: int
    #: Duplicates to subscriptions that were never acknowledged or ready. `rows` has no row for such a subscription.
    duplicates_elsewhere: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the counts: `COUNTS`, and `ALTERED` if the run checked the content of deliveries."""
        known = next(iter(self.rows.values())).counts
        return tuple(name for name in (*COUNTS, ALTERED) if name in known)

    @cached_property
    def columns(self) -> dict[str, Sequence[str] | Ints]:
        """All rows, one dimension after the other, as columns: `dimension`, `key`, and the counts."""
        parts = self.rows.values()
        return {
            "dimension": [dimension for dimension, rows in self.rows.items() for _ in rows.keys],
            "key": [key for rows in parts for key in rows.keys],
            **{name: np.concatenate([rows.counts[name] for rows in parts]) for name in self.names},
        }

    @cached_property
    def frame(self) -> "pd.DataFrame":
        """The `columns` as a DataFrame; `altered` is null if the run did not check the content of deliveries."""
        extras.require("pandas", "a table as DataFrame")
        import pandas as pd

        frame = pd.DataFrame(self.columns).astype({"dimension": "str", "key": "str"})
        known = frame[ALTERED].tolist() if ALTERED in frame else [None] * len(frame)
        frame[ALTERED] = pd.array(known, dtype="Int64")
        return frame

    def by(self, dimension: str) -> "pd.DataFrame":
        """Return the rows of one dimension, indexed by key."""
        rows = self.frame[self.frame["dimension"] == dimension]
        return rows.drop(columns="dimension").set_index("key")

    def agrees_with(self, totals: Mapping[str, int | None]) -> bool:
        """Return True if each dimension adds up to ``totals`` and every expected delivery in it has an outcome."""
        for dimension, rows in self.rows.items():
            elsewhere = (
                self.duplicates_elsewhere if dimension == "subscription" else self.duplicates_unrecorded
            )
            if any(
                int(rows.counts[name].sum()) + (elsewhere if name == "duplicates" else 0) != totals[name]
                for name in self.names
            ):
                return False
            accounted = rows.counts["delivered"] + rows.counts["late"] + rows.lost
            if not np.array_equal(accounted, rows.counts["expected"]):
                return False
        return True

    def worst(self, dimension: str, most: int = 5) -> list[dict[str, Any]]:
        """Return the rows of a dimension that have losses: up to ``most`` of them, those with the most losses first."""
        rows = self.rows[dimension]
        lost = rows.lost
        places = [place for place in np.argsort(-lost, kind="stable")[:most].tolist() if lost[place] > 0]
        return [
            {
                "key": rows.keys[place],
                ALTERED: None,
                **{name: int(rows.counts[name][place]) for name in self.names},
            }
            for place in places
        ]


class Sums:
    """Adds up the counts of events by publisher and by channel, over successive stretches of time."""

    def __init__(self) -> None:
        self._publishers: list[Rows] = []
        self._channels: list[Rows] = []

    def add(self, events: Events, counts: Mapping[str, Ints]) -> None:
        """Add counts, each an array over the events of a stretch; every stretch must have counts of the same names."""
        names = [str(name) for name in events.channels]
        self._publishers.append(by_number(events.publisher, counts))
        self._channels.append(_by_name(events.channel, names, counts))

    def publishers(self) -> Rows:
        """Return the sums by publisher, in ascending order of its number."""
        return _joined(self._publishers, int)

    def channels(self) -> Rows:
        """Return the sums by channel, in ascending order of its name."""
        return _joined(self._channels, str)


def _joined(parts: Sequence[Rows], order: Callable[[str], Any]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    keys = sorted({key for part in parts for key in part.keys}, key=order)
    place_of = {key: place for place, key in enumerate(keys)}
    places = np.array([place_of[key] for part in parts for key in part.keys], dtype=np.int64)
    counts = {
        name: np.concatenate([part.counts[name] for part in parts])
        for name in (parts[0].counts if parts else ())
    }
    return Rows(keys, _sums(places, len(keys), counts))


def by_number(numbers: Ints, counts: Mapping[str, Ints]) -> Rows:
    """Sum the counts of each publisher or subscription, in ascending order of its number."""
    keys, place = np.unique(numbers, return_inverse=True)
    return Rows([str(key) for key in keys.tolist()], _sums(place, len(keys), counts))


def _by_name(codes: Ints, names: Sequence[str], counts: Mapping[str, Ints]) -> Rows:
    """Sum the counts of rows whose code stands for the same name, in ascending order of names; omit unused names."""
    used = np.unique(codes).tolist()
    keys = sorted({names[code] for code in used})
    place_of = {key: place for place, key in enumerate(keys)}
    places = np.zeros(len(names), dtype=np.int64)
    places[used] = [place_of[names[code]] for code in used]
    return Rows(keys, _sums(places[codes], len(keys), counts))


def _sums(places: Ints, length: int, counts: Mapping[str, Ints]) -> dict[str, Ints]:
    # A weighted bincount returns floats, which are exact: no run has 2**53 deliveries.
    return {
        name: np.bincount(places, weights=each, minlength=length).astype(np.int64)
        for name, each in counts.items()
    }
