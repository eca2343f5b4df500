"""When to renew a token: at a moment of each client's own, so that renewals make no storm."""

from random import Random
from typing import Final

#: Renewal begins between these shares of a token's lifetime.
EARLIEST: Final = 0.5
LATEST: Final = 0.8


def renew_at_s(now_s: float, expires_s: float, seed: str, number: int, turn: int) -> float:
    """Return the time to renew a token that the client with the global number ``number`` got now, as its ``turn``-th.

    Times are in seconds since the epoch. The same arguments give the same share of the lifetime.
    """
    share = Random(f"{seed}/login/{number}/{turn}").uniform(EARLIEST, LATEST)
    return now_s + share * max(expires_s - now_s, 0.0)
