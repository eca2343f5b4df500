"""The users of a worker: as which client each one acts, and how many are still active."""

import secrets
from collections import Counter
from typing import Final

from gevent.event import AsyncResult, Event

from loadgen.resolve import ClientPlan, Clients
from loadgen.run.master_messages import Grant
from loadgen.run.messages import Link
from loadgen.run.worker.clock import Clock
from loadgen.run.worker_messages import Claim

_CLAIM_WINDOW_S: Final = 0.005
_LOOK_S: Final = 0.02


class Users:
    """Claims clients for users from the master, and counts the users that act as a client."""

    def __init__(self, link: Link, clock: Clock, clients: Clients, complete: Event) -> None:
        """Store the arguments; ``complete`` is set once all rows of data for publish requests have arrived."""
        self._link = link
        self._complete = complete
        self._clock = clock
        self._clients = clients
        #: Claims that were not sent yet, as (role, result). A claim is a user's request for a client to act as, and the
        #: user waits for the result.
        self._claims: list[tuple[str, AsyncResult]] = []
        #: Claims that the master has not answered yet, by the number of the message that carried them.
        self._asked: dict[int, list[tuple[str, AsyncResult]]] = {}
        self._playing = 0

    def claim(self, role: str) -> ClientPlan | None:
        """Claim the next free client of ``role`` for a user and return its plan, or None if none is left.

        Waits for the master's answer.
        """
        granted: AsyncResult = AsyncResult()
        if not self._claims:
            # Users are spawned by the thousand: one message asks the master for the clients of all users that were
            # spawned within a few milliseconds.
            self._clock.after(_CLAIM_WINDOW_S, self._send)
        self._claims.append((role, granted))
        client = granted.get()
        if client is None:
            return None
        self._complete.wait()
        number, values, place = client
        return self._clients.client(number, values, place)

    def _send(self) -> None:
        claims, self._claims = self._claims, []
        request = secrets.randbits(31)
        self._asked[request] = claims
        wanted = Counter(role for role, _ in claims)
        self._link.to_coordinator(Claim(request=request, wanted=dict(wanted)))

    def on_grant(self, grant: Grant) -> None:
        """Give each waiting user one of the clients that the master granted, or None if there are too few."""
        granted = {role: list(numbers) for role, numbers in grant.granted.items()}
        for role, waiting in self._asked.pop(grant.request, ()):
            numbers = granted.get(role)
            number = numbers.pop(0) if numbers else None
            waiting.set(
                None if number is None else (number, grant.values.get(number, {}), grant.places.get(number))
            )

    def release(self) -> None:
        """Give None instead of a client to each user whose claim was not sent yet, since the run is over."""
        for _, waiting in self._claims:
            waiting.set(None)

    def joined(self) -> None:
        """Count a user that has begun to act as its client."""
        self._playing += 1

    def left(self) -> None:
        """Stop counting a user that has closed its connections and recorded everything."""
        self._playing -= 1

    def wait_until_gone(self, timeout_s: float) -> bool:
        """Wait until no user acts as a client any more; return False if some still do after ``timeout_s``."""
        deadline_s = self._clock.steady_s() + timeout_s
        while self._playing:
            if self._clock.steady_s() >= deadline_s:
                return False
            self._clock.sleep(_LOOK_S)
        return True
