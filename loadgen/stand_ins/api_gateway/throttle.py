"""The account's throttle: a token bucket with a burst."""

import time
from collections.abc import Callable


class Throttle:
    """Allows ``rate_per_s`` requests on average and ``burst`` at once; with a rate of 0, allows all requests."""

    def __init__(self, rate_per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s, self._burst, self._clock = rate_per_s, burst, clock
        self._level, self._at_s = burst, clock()

    def take(self) -> bool:
        """Count one request; return False if the throttle refuses it."""
        if not self._rate_per_s:
            return True
        now_s = self._clock()
        self._level = min(self._burst, self._level + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s
        if self._level < 1:
            return False
        self._level -= 1
        return True
