"""When a client connects again after its connection ended."""

from random import Random

from loadgen.resolve import Behaviour, LifetimePlan

#: Why a client ended its connection or subscription itself, as it stands in the record; of a drop with its number.
LEAVE, UNSUBSCRIBE, DROP = "leave", "unsubscribe", "drop"
#: Stands there too where a failure of the harness has ended it: nobody observed what was delivered after that.
HARNESS_FAILURE = "harness failure"
_DOUBLINGS_MAX = 40
#: Part of the time that a service asks to be left alone for, over which those that it told so are spread.
_SPREAD = 0.25


class ReconnectPolicy:
    """One client's waits: exponential backoff with full jitter or none, begun anew after each success.

    Full jitter draws the whole wait: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self._plan = behaviour.reconnect
        self._away_s = behaviour.churn.away_ns / 1e9 if isinstance(behaviour.churn, LifetimePlan) else 0.0
        # Made when it is needed: its state is 2.5 KB, and most clients never wait.
        self._random: Random | None = None
        self._failed = 0
        self._was_connected = False

    def connected(self) -> None:
        """An attempt has succeeded."""
        self._failed = 0
        self._was_connected = True

    def wait_s(self, intent: str | None, least_s: float | None = None) -> float | None:
        """Return how long to wait before the next attempt; None: there is none.

        ``intent`` says why the connection that just ended was ended by the client; None: it was lost, or an attempt
        has failed. ``least_s`` is when the service wants to be asked again, where it has said so: all clients that it
        has told so must not come at once.
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
        # Of random draws only this one is promised to stay the same between Python versions.
        return self._random.random()
