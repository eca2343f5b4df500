"""A token bucket shared by several server processes: a rate limit of an API covers all of them together."""

import mmap
import multiprocessing
import time
from collections.abc import Callable

from loadgen.server.quotas import TokenBucket

_STATE_BYTES = 16


class SharedTokenBucket(TokenBucket):
    """One token bucket for this process and its later forks; the clock must be the same in all of them.

    If each process had its own share of the rate instead, a publisher with a single connection could use only one
    share.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        # The bucket's level and the time of its last change, in memory that forks share.
        self._state = memoryview(mmap.mmap(-1, _STATE_BYTES)).cast("d")
        self._lock = multiprocessing.get_context("fork").Lock()
        super().__init__(rate_per_s, clock)

    @property
    def _level(self) -> float:
        return self._state[0]

    @_level.setter
    def _level(self, level: float) -> None:
        self._state[0] = level

    @property
    def _at_s(self) -> float:
        return self._state[1]

    @_at_s.setter
    def _at_s(self, at_s: float) -> None:
        self._state[1] = at_s

    def try_take(self, amount: float = 1.0) -> bool:
        """Take the amount and return True, or take nothing and return False if the bucket holds less."""
        with self._lock:
            return super().try_take(amount)

    def in_debt(self) -> bool:
        """Return True if the bucket is empty or in debt."""
        with self._lock:
            return super().in_debt()

    def charge(self, amount: float) -> None:
        """Take an amount that has already been spent, even if that leaves a debt."""
        with self._lock:
            super().charge(amount)
