"""Find the group of a subscription by the subscription's number."""

import numpy as np
import numpy.typing as npt

from loadgen.resolve.run import ResolvedRun

Numbers = npt.NDArray[np.int64]


class Owners:
    """The groups of a run that have subscriptions.

    Planned subscriptions are numbered group by group. The numbers of journeys follow; a journey is a client that runs
    the tasks of a user class. Each of n journeys takes every n-th number, so that no two journeys use the same number,
    even in different workers; see `loadgen.resolve.clients.JourneyPlan`.
    """

    def __init__(self, run: ResolvedRun) -> None:
        planned = [group for group in run.groups if group.subscribe]
        #: The names of the groups; :meth:`of` returns indices of this list.
        self.names = [group.name for group in (*planned, *run.journeys)]
        self._planned = len(planned)
        self._first = np.array([group.first_subscription for group in planned], dtype=np.int64)
        self._total, self._journeys = run.totals.subscriptions, run.totals.journeys
        counts = np.array([group.count for group in run.journeys], dtype=np.int64)
        self._first_journey = np.cumsum(counts) - counts

    def of(self, subscriptions: Numbers) -> Numbers:
        """Return for each subscription number the index of its group in :attr:`names`."""
        found = np.searchsorted(self._first, subscriptions, side="right") - 1
        if not self._journeys:
            return found
        turn = (subscriptions - self._total) % self._journeys
        journey = self._planned + np.searchsorted(self._first_journey, turn, side="right") - 1
        return np.where(subscriptions >= self._total, journey, found)
