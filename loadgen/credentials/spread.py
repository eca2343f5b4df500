"""Compute when to renew a token; each client gets a different moment, so that renewals do not coincide."""

from random import Random
from typing import Final

#: A token is renewed when a share of its lifetime between these two has passed.
EARLIEST: Final = 0.5
LATEST: Final = 0.8


def renew_at_s(now_s: float, expires_s: float, seed: str, number: int, turn: int) -> float:
    """Return the time to renew a token that was fetched at ``now_s``, in seconds since the epoch.

    ``number`` is the client's number in the whole run, and ``turn`` counts its tokens. The same ``seed``, ``number``
    and ``turn`` give the same share of the token's lifetime.
    """
    share = Random(f"{seed}/login/{number}/{turn}").uniform(EARLIEST, LATEST)
    return now_s + share * max(expires_s - now_s, 0.0)
