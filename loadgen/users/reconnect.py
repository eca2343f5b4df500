"""The reconnect policy: when a client connects again after its connection has ended."""

from random import Random

from loadgen.resolve import Behaviour, LifetimePlan

#: Values of `intent` in the record: the reason for which a client itself ended its connection or subscription. `DROP`
#: is followed by the number of the drop in the scenario, as in `drop 2`.
LEAVE, UNSUBSCRIBE, DROP = "leave", "unsubscribe", "drop"
#: Value of `intent` for a connection that a failure of the harness ended. Later deliveries count as unobserved.
HARNESS_FAILURE = "harness failure"
_DOUBLINGS_MAX = 40
#: If the service asks clients to wait, each client adds a random time of up to this fraction of the requested wait.
_SPREAD = 0.25


class ReconnectPolicy:
    """One client's waits between attempts: exponential backoff with or without full jitter, reset by each success.

    Full jitter draws the wait between 0 and the backoff: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._plan = behaviour.reconnect
        self._away_s = behaviour.churn.away_ns / 1e9 if isinstance(behaviour.churn, LifetimePlan) else 0.0
        # The random generator is created on first use: its state takes 2.5 KB, and most clients never wait.
        self._random: Random | None = None
        self._failed = 0
        self._was_connected = False

    def connected(self) -> None:
        """Reset the backoff after a successful attempt."""
        self._failed = 0
        self._was_connected = True

    @property
    def was_connected(self) -> bool:
        """True if an attempt has succeeded."""
        return self._was_connected

    def wait_s(self, intent: str | None, least_s: float | None = None) -> float | None:
        """Return the wait before the next attempt, in seconds, or None if the policy allows no further attempt.

        ``intent`` is the reason for which the client itself ended the connection, or None if the connection was lost
        or an attempt failed.
        ``least_s`` is the minimum wait that the service asked for, if any; a random part is added to it, so that
        clients with the same minimum do not all return at once.
        """
        if intent == LEAVE:
            return self._away_s
        if self._was_connected and not self._plan.again:
            return None
        wait_ns = min(self._plan.first_ns << min(self._failed, _DOUBLINGS_MAX), self._plan.most_ns)
        self._failed += 1
        wait_s = wait_ns / 1e9 * (self._draw() if self._plan.jitter else 1.0)
        return wait_s if least_s is None else max(wait_s, least_s * (1 + _SPREAD * self._draw()))

    def _draw(self) -> float:
        if self._random is None:
            self._random = self._plan.random()
        # Use `random()`: with a given seed, only this method gives the same sequence in all versions of Python.
        return self._random.random()
