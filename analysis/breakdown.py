"""The ledger by publisher, by channel and by subscription."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from analysis.losses import (
    BEFORE_READY,
    IN_RECONNECT,
    MISSED_AWAY,
    MISSED_IN_GAP,
    OTHERWISE,
    UNOBSERVED,
    Losses,
)
from analysis.presence import Segments
from analysis.run import Ints

if TYPE_CHECKING:
    from analysis.ledger import Events, Ledger

DIMENSIONS = ("publisher", "channel", "subscription")
_LOST = {
    "lost_before_ready": BEFORE_READY,
    "lost_in_reconnect": IN_RECONNECT,
    "lost_otherwise": OTHERWISE,
}
_MISSED = {"missed_in_gap": MISSED_IN_GAP, "missed_away": MISSED_AWAY, "unobserved": UNOBSERVED}
COUNTS = ("expected", "delivered", "late", *_LOST, *_MISSED, "duplicates", "reordered")
Pairs = tuple[Ints, Ints]
Counts = tuple[Ints, Ints]


@dataclass(frozen=True)
class Breakdown:
    """One row a publisher, channel or subscription: `dimension`, `key` (its number or name), and the counts."""

    frame: pd.DataFrame
    #: Duplicates of events that nobody has on record: of no publisher's or channel's row.
    duplicates_unrecorded: int
    #: Duplicates to subscriptions that were never present: of no subscription's row.
    duplicates_elsewhere: int

    @classmethod
    def of(
        cls,
        events: "Events",
        present: Segments,
        expected: Ints,
        expected_by_segment: Ints,
        missed_by_subscription: Ints,
        *,
        delivered: Counts,
        late: Counts,
        duplicates: Pairs,
        reordered: Pairs,
        losses: Losses,
    ) -> Self:
        """Count. Of the many there are counts, by event and by subscription (as `losses.numbers`); of the few the pairs
        (event, subscription) of each, event -1 where it is unknown. What was missed on purpose is taken off
        ``expected`` already, and is in ``expected_by_segment`` still."""
        count = len(events.key)
        pairs = {"duplicates": duplicates, "reordered": reordered}
        by_event: dict[str, Ints] = {"expected": expected}
        by_subscription: dict[str, Ints] = {
            "expected": np.bincount(
                np.searchsorted(losses.numbers, present.subscription),
                weights=expected_by_segment,
                minlength=len(losses.numbers),
            ).astype(np.int64)
            - missed_by_subscription
        }
        for name, (of_events, of_subscriptions) in (("delivered", delivered), ("late", late)):
            by_event[name], by_subscription[name] = of_events, of_subscriptions
        for name, (event, subscription) in pairs.items():
            by_event[name] = np.bincount(event[event >= 0], minlength=count)
            place = np.searchsorted(losses.numbers, subscription)
            found = np.isin(subscription, losses.numbers)
            by_subscription[name] = np.bincount(place[found], minlength=len(losses.numbers))
        for name, loss in (_LOST | _MISSED).items():
            by_event[name] = losses.by_event[loss]
            by_subscription[name] = losses.by_subscription[loss]
        frames = [
            _grouped("publisher", events.publisher, by_event),
            _grouped(
                "channel",
                np.array([str(name) for name in events.channels], dtype=object)[events.channel],
                by_event,
            )
            if count
            else _grouped("channel", np.empty(0, dtype=object), by_event),
            _grouped("subscription", losses.numbers, by_subscription),
        ]
        twice_event, twice_subscription = duplicates
        return cls(
            pd.concat(frames, ignore_index=True),
            int(np.count_nonzero(twice_event < 0)),
            int(np.count_nonzero(~np.isin(twice_subscription, losses.numbers))),
        )

    def by(self, dimension: str) -> pd.DataFrame:
        """Return the rows of one dimension, indexed by key."""
        rows = self.frame[self.frame["dimension"] == dimension]
        return rows.drop(columns="dimension").set_index("key")

    def agrees_with(self, ledger: "Ledger") -> bool:
        """Whether each dimension adds up to the ledger's totals, and each of its rows balances by itself."""
        for dimension in DIMENSIONS:
            rows = self.by(dimension)
            total = rows[list(COUNTS)].sum()
            elsewhere = (
                self.duplicates_elsewhere if dimension == "subscription" else self.duplicates_unrecorded
            )
            if any(
                int(total[name]) + (elsewhere if name == "duplicates" else 0) != getattr(ledger, name)
                for name in COUNTS
            ):
                return False
            accounted = rows[["delivered", "late", *_LOST]].sum(axis=1)
            if not (accounted == rows["expected"]).all():
                return False
        return True

    def worst(self, dimension: str, most: int = 5) -> list[dict[str, Any]]:
        """Return the rows of a dimension with the most losses, those without any left out."""
        rows = self.by(dimension)
        lost = rows[list(_LOST)].sum(axis=1)
        chosen = lost[lost > 0].sort_values(ascending=False, kind="stable").head(most).index
        return [{"key": key, **{name: int(rows.loc[key, name]) for name in COUNTS}} for key in chosen]


def _grouped(dimension: str, keys: Any, counts: dict[str, Ints]) -> pd.DataFrame:
    frame = pd.DataFrame({name: counts[name] for name in COUNTS})
    summed = frame.groupby(pd.Series(keys, name="key"), sort=True).sum().reset_index()
    summed["key"] = summed["key"].astype(str)
    summed.insert(0, "dimension", dimension)
    return summed
