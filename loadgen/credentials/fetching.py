"""Tokens that each client gets from a command, an endpoint or a user pool, at a bounded rate."""

import time
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from itertools import count
from typing import Final

import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from loadgen.credentials.errors import CredentialError
from loadgen.credentials.refreshing import FetchedToken
from loadgen.credentials.spread import renew_at_s
from loadgen.data.cells import Cell

#: Maximum number of logins that one worker has under way at once.
_AT_ONCE: Final = 32
_RETRY_S: Final = 5.0


class ClientToken:
    """A callable that returns one client's current token."""

    __slots__ = ("_token", "number", "turn", "values")

    def __init__(self, token: str, number: int, values: Mapping[str, Cell]) -> None:
        self._token, self.number, self.values = token, number, values
        self.turn = 0

    def __call__(self) -> str:
        """Return the current token."""
        return self._token

    def renewed(self, token: str) -> None:
        """Replace the token with a new one, and count the renewal."""
        self._token = token
        self.turn += 1


class Pace:
    """Spaces token fetches evenly, at most ``per_s`` a second: call `wait` before each."""

    def __init__(
        self,
        per_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = gevent.sleep,
    ) -> None:
        self._gap_s, self._clock, self._sleep = 1 / per_s, clock, sleep
        self._next_s = 0.0

    def wait(self) -> None:
        """Wait until the next turn is due."""
        now_s = self._clock()
        turn_s = max(self._next_s, now_s)
        self._next_s = turn_s + self._gap_s
        if turn_s > now_s:
            self._sleep(turn_s - now_s)


class Fetching:
    """Fetches tokens of clients by one login and renews them before they expire.

    ``fetch`` takes a client's values and raises CredentialError. ``on_trouble`` is called with a client's number and a
    sentence if its token could not be renewed; the old one then stays in use.
    """

    def __init__(
        self,
        fetch: Callable[[Mapping[str, Cell]], FetchedToken],
        seed: str,
        pace: Pace,
        on_trouble: Callable[[int, str], None] = lambda number, said: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fetch, self._seed, self._pace = fetch, seed, pace
        self._on_trouble, self._clock = on_trouble, clock
        self._under_way = BoundedSemaphore(_AT_ONCE)
        self._due: list[tuple[float, int, ClientToken]] = []
        self._entries = count()
        self._earlier = Event()
        self._renewing: gevent.Greenlet | None = None

    def token(self, number: int, values: Mapping[str, Cell]) -> ClientToken:
        """Fetch a client's token, and renew it until :meth:`stop`; may block, to limit the login rate.

        Raises:
            CredentialError: the token cannot be obtained.
        """
        fetched = self._asked(values)
        made = ClientToken(fetched.token, number, values)
        self._plan(made, fetched)
        return made

    def stop(self) -> None:
        """Renew no more tokens."""
        if self._renewing is not None:
            self._renewing.kill(block=False)

    def _asked(self, values: Mapping[str, Cell]) -> FetchedToken:
        with self._under_way:
            self._pace.wait()
            return self._fetch(values)

    def _plan(self, token: ClientToken, fetched: FetchedToken) -> None:
        if fetched.expires_s is None:
            return
        now_s = self._clock()
        at_s = renew_at_s(now_s, fetched.expires_s, self._seed, token.number, token.turn)
        # A source that still returns the old token is asked again after a second, not in a tight loop.
        self._put(token, max(at_s, now_s + 1.0))

    def _put(self, token: ClientToken, at_s: float) -> None:
        heappush(self._due, (at_s, next(self._entries), token))
        self._earlier.set()
        if self._renewing is None:
            self._renewing = gevent.spawn(self._renew_all)

    def _renew_all(self) -> None:
        while True:
            self._earlier.clear()
            left_s = None if not self._due else self._due[0][0] - self._clock()
            if left_s is None or left_s > 0:
                self._earlier.wait(left_s)
                continue
            _, _, token = heappop(self._due)
            gevent.spawn(self._renew, token)

    def _renew(self, token: ClientToken) -> None:
        try:
            fetched = self._asked(token.values)
        except CredentialError as error:
            self._on_trouble(token.number, f"its token could not be renewed: {error}")
            self._put(token, self._clock() + _RETRY_S)
            return
        token.renewed(fetched.token)
        self._plan(token, fetched)
