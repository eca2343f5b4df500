"""The receivers of events: a receiver is a subscription, or a group of subscriptions that share their events.

The service delivers each event to one member of a group (a shared subscription), so the ledger expects one delivery for
the group, at any member. The group counts as one subscription, under the lowest number of its members. Groups that have
the same name but different patterns are different groups.
"""

from functools import lru_cache

import numpy as np

from analysis.loading.run import Ints, Run, codes, ints


class Receivers:
    """Finds the receiver of a subscription: the group that it shares events with, else the subscription itself."""

    def __init__(self, members: Ints, receiver: Ints) -> None:
        """Take the numbers of shared subscriptions (``members``, ascending) and the group of each (``receiver``)."""
        self.members, self._receiver = members, receiver

    def __bool__(self) -> bool:
        """Return True if any subscription is shared."""
        return bool(len(self.members))

    def of(self, subscription: Ints) -> Ints:
        """Return the receiver of each subscription: its own number if it is not shared."""
        if not self:
            return subscription
        place = np.minimum(np.searchsorted(self.members, subscription), len(self.members) - 1)
        return np.where(self.members[place] == subscription, self._receiver[place], subscription)


#: The receivers of a run without shared subscriptions.
NOT_SHARED = Receivers(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))


@lru_cache(maxsize=1)
def receivers_of(run: Run) -> Receivers:
    """Return the receivers of a run; the last result is cached."""
    table = run.table("subscriptions", ("subscription", "channel", "shared"))
    group, groups = codes(table, "shared")
    number = ints(table, "subscription")
    shared = np.ones(len(number), dtype=bool)
    if None in groups:
        shared = group != groups.index(None)
    if not shared.any():
        return NOT_SHARED
    pattern, patterns = codes(table, "channel")
    number, key = number[shared], (group * len(patterns) + pattern)[shared]
    _, place = np.unique(key, return_inverse=True)
    lowest = np.full(int(place.max()) + 1, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(lowest, place, number)
    members, first = np.unique(number, return_index=True)
    return Receivers(members, lowest[place[first]])
