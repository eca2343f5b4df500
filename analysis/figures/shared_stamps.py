"""Count deliveries that share a kernel stamp, in records without `uncertain_ns` (format 2).

One read of a socket has one kernel stamp. If several messages waited for the read, they share its stamp, and all but
the last arrived earlier than the stamp says. Later records hold the uncertainty of each arrival (see
`analysis.loading.doubts`).

A large run's deliveries are read in slices: the rows of events due in one stretch of time.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.loading.lookup import Places
from analysis.loading.run import Ints


@dataclass(frozen=True)
class Stamps:
    """Deliveries with the same arrival stamp as another event on the same subscription, without duplicates.

    The first and the last row of each subscription are kept as well, because rows with the same stamp may be in another
    slice. The rows are sorted by subscription, arrival and intended time.
    """

    subscription: Ints
    arrival_ns: Ints
    intended_ns: Ints

    @classmethod
    def of(cls, subscription: Ints, arrival_ns: Ints, intended_ns: Ints, people: Places) -> "Stamps":
        """Sort a slice of deliveries by subscription and arrival, and keep the rows that may share a kernel stamp.

        Subscriptions are sorted by their positions in ``people``.
        """
        if not len(arrival_ns):
            return cls(subscription, arrival_ns, intended_ns)
        place = people.of(subscription)
        if place.min() < 0:
            place = np.unique(subscription, return_inverse=True)[1]
        arrival = arrival_ns - arrival_ns.min()
        # A stable sort is fast here: a subscription's rows are in order of receipt, so mostly sorted by time already.
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
        """Join the rows of several slices, sorted."""
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
        """Return a mask over all rows but the first: True if subscription and stamp equal those of the row before."""
        same: npt.NDArray[np.bool_] = (self.subscription[1:] == self.subscription[:-1]) & (
            self.arrival_ns[1:] == self.arrival_ns[:-1]
        )
        return same

    @property
    def shared(self) -> int:
        """Number of deliveries that have the same kernel stamp as a later event, because one read returned both."""
        return int(np.count_nonzero(self.same() & (self.intended_ns[1:] != self.intended_ns[:-1])))


class Shared:
    """Counts deliveries with shared stamps over successive slices; the messages of one read may lie in two slices."""

    def __init__(self) -> None:
        self._done = 0
        none = np.empty(0, dtype=np.int64)
        self._pending = Stamps(none, none, none)

    def add(self, rows: Stamps, end_ns: int) -> None:
        """Add the rows of events with intended times before ``end_ns``; all later events arrive after ``end_ns``."""
        before = self._pending.arrival_ns.max() if len(self._pending.arrival_ns) else -1
        near = (rows.arrival_ns <= before) | (rows.arrival_ns >= end_ns)
        self._done += rows.taken(~near).shared
        pending = Stamps.joined([self._pending, rows.taken(near)])
        done = pending.arrival_ns < end_ns
        self._done += pending.taken(done).shared
        self._pending = pending.taken(~done)

    @property
    def count(self) -> int:
        """Number of deliveries so far that have the kernel stamp of a later event, because one read returned both."""
        return self._done + self._pending.shared
