"""Deliveries that share a kernel stamp, as far as a record without `uncertain_ns` (format 2) can tell.

Later records say of each delivery by how much its arrival is uncertain (see `analysis.loading.doubts`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.loading.lookup import Places
from analysis.loading.run import Ints


@dataclass(frozen=True)
class Stamps:
    """Rows that have their arrival stamp in common with another event on the same subscription; each event once.

    The first and last of each subscription are kept too: what shares their stamp may be in another slice. Arrays:
    subscription, arrival, intended time; sorted by these.
    """

    subscription: Ints
    arrival_ns: Ints
    intended_ns: Ints

    @classmethod
    def of(cls, subscription: Ints, arrival_ns: Ints, intended_ns: Ints, people: Places) -> "Stamps":
        """Take the rows of a slice."""
        if not len(arrival_ns):
            return cls(subscription, arrival_ns, intended_ns)
        place = people.of(subscription)
        if place.min() < 0:
            place = np.unique(subscription, return_inverse=True)[1]
        arrival = arrival_ns - arrival_ns.min()
        # A subscription's rows stand in the order in which they came, so that most are sorted by time already.
        order = np.argsort(place * (int(arrival.max()) + 1) + arrival, kind="stable")
        rows = cls(subscription[order], arrival_ns[order], intended_ns[order])
        same = rows.same()
        if (same & (rows.intended_ns[1:] < rows.intended_ns[:-1])).any():
            rows = rows.taken(np.lexsort((rows.intended_ns, rows.arrival_ns, rows.subscription)))
            same = rows.same()
        rows = rows.taken(np.r_[True, ~(same & (rows.intended_ns[1:] == rows.intended_ns[:-1]))])
        same = rows.same()
        other = rows.subscription[1:] != rows.subscription[:-1]
        return rows.taken(np.r_[True, same | other] | np.r_[same | other, True])

    @classmethod
    def joined(cls, parts: list["Stamps"]) -> "Stamps":
        """Return the rows of all slices, sorted."""
        rows = cls(
            np.concatenate([part.subscription for part in parts]),
            np.concatenate([part.arrival_ns for part in parts]),
            np.concatenate([part.intended_ns for part in parts]),
        )
        return rows.taken(np.lexsort((rows.intended_ns, rows.arrival_ns, rows.subscription)))

    def taken(self, chosen: npt.NDArray[Any]) -> "Stamps":
        """Return the chosen rows."""
        return Stamps(self.subscription[chosen], self.arrival_ns[chosen], self.intended_ns[chosen])

    def same(self) -> npt.NDArray[np.bool_]:
        """Whether each row but the first is of the subscription and stamp of the one before."""
        same: npt.NDArray[np.bool_] = (self.subscription[1:] == self.subscription[:-1]) & (
            self.arrival_ns[1:] == self.arrival_ns[:-1]
        )
        return same

    @property
    def shared(self) -> int:
        """How many deliveries have the stamp of a later event: they waited together for one read."""
        return int(np.count_nonzero(self.same() & (self.intended_ns[1:] != self.intended_ns[:-1])))


class Shared:
    """Adds up shared stamps over slices in their order: what one read brought may lie in two of them."""

    def __init__(self) -> None:
        self._done = 0
        none = np.empty(0, dtype=np.int64)
        self._pending = Stamps(none, none, none)

    def add(self, rows: Stamps, end_ns: int) -> None:
        """Take the rows of the events that were due up to ``end_ns``: later ones arrive after that."""
        before = self._pending.arrival_ns.max() if len(self._pending.arrival_ns) else -1
        near = (rows.arrival_ns <= before) | (rows.arrival_ns >= end_ns)
        self._done += rows.taken(~near).shared
        pending = Stamps.joined([self._pending, rows.taken(near)])
        done = pending.arrival_ns < end_ns
        self._done += pending.taken(done).shared
        self._pending = pending.taken(~done)

    @property
    def count(self) -> int:
        """How many there are."""
        return self._done + self._pending.shared
