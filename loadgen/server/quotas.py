"""The service's quotas, each of which can be changed or switched off.

`protocol/appsync/limits.py` has the values and their sources. AWS's behaviour above a rate is unknown. Here a request
that exceeds a rate is refused with `LimitExceededError`, or 429 over HTTP (assumption; the name is from AWS's Android
client). Each rate is a token bucket with the capacity of one second (assumption).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Self

from loadgen.protocol.appsync import errors, limits
from loadgen.server.refusal import RefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The quotas of a server, each None for no limit.

    By default the limits on a single request or connection apply, but no limits on rates.
    """

    subscriptions_per_connection: int | None = limits.SUBSCRIPTIONS_PER_CONNECTION
    event_bytes: int | None = limits.EVENT_MAX_BYTES
    payload_bytes: int | None = limits.PAYLOAD_MAX_BYTES
    publishes_per_connection_per_s: float | None = None
    connections_per_s: float | None = None
    inbound_events_per_s: float | None = None
    outbound_messages_per_s: float | None = None

    @classmethod
    def aws(cls) -> Self:
        """Return AWS's default quotas, rates included."""
        return cls(
            publishes_per_connection_per_s=limits.PUBLISHES_PER_CONNECTION_PER_SECOND,
            connections_per_s=limits.NEW_CONNECTIONS_PER_SECOND,
            inbound_events_per_s=limits.INBOUND_EVENTS_PER_SECOND,
            outbound_messages_per_s=limits.OUTBOUND_MESSAGES_PER_SECOND,
        )

    @classmethod
    def off(cls) -> Self:
        """Return quotas without any limit, except that of five events per publish, which the protocol sets."""
        return cls(subscriptions_per_connection=None, event_bytes=None, payload_bytes=None)


class TokenBucket:
    """A token bucket that allows `rate_per_s` on average, and bursts of one second's amount.

    `charge` takes an amount that is known only afterwards, such as the deliveries of a fan-out, and may leave the
    bucket in debt.
    """

    def __init__(self, rate_per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = max(rate_per_s, 1.0)
        self._level = self._capacity
        self._clock = clock
        self._at_s = clock()

    def try_take(self, amount: float = 1.0) -> bool:
        """Take the amount and return True, or take nothing and return False if the bucket holds less.

        An amount above the bucket's capacity is allowed when the bucket is full, and leaves a debt.
        """
        self._refill()
        if self._level < min(amount, self._capacity):
            return False
        self._level -= amount
        return True

    def in_debt(self) -> bool:
        """Return True if the bucket is empty, or if more was taken than it held (see `charge`)."""
        self._refill()
        return self._level <= 0

    def charge(self, amount: float) -> None:
        """Take an amount that has already been spent, even if that leaves a debt."""
        self._refill()
        self._level -= amount

    def _refill(self) -> None:
        now_s = self._clock()
        self._level = min(self._capacity, self._level + (now_s - self._at_s) * self._rate_per_s)
        self._at_s = now_s


class ApiRates:
    """The rate quotas of one API, over all its connections."""

    def __init__(self, quotas: Quotas, make_bucket: Callable[[float], TokenBucket] = TokenBucket) -> None:
        self._connections = _bucket(quotas.connections_per_s, make_bucket)
        self._inbound = _bucket(quotas.inbound_events_per_s, make_bucket)
        self._outbound = _bucket(quotas.outbound_messages_per_s, make_bucket)

    def connect(self) -> None:
        """Count a new connection; raises RefusedError above the rate."""
        if self._connections is not None and not self._connections.try_take():
            raise _too_fast()

    def publish(self, events: int) -> None:
        """Count inbound events; raises RefusedError above their rate, or while the rate of deliveries is exceeded."""
        if self._outbound is not None and self._outbound.in_debt():
            raise _too_fast()
        if self._inbound is not None and not self._inbound.try_take(events):
            raise _too_fast()

    @property
    def meters_deliveries(self) -> bool:
        """True if there is a rate for deliveries, so that `delivered` must be called."""
        return self._outbound is not None

    def delivered(self, subscribers: int, event_bytes: int) -> None:
        """Count the deliveries of one event against the rate: one for each subscriber and each 5 KB (AWS docs)."""
        if self._outbound is not None:
            self._outbound.charge(subscribers * metered(event_bytes))


class ConnectionRates:
    """The rate quotas of one connection."""

    def __init__(self, quotas: Quotas) -> None:
        self._publishes = _bucket(quotas.publishes_per_connection_per_s, TokenBucket)

    def publish(self) -> None:
        """Count a publish request; raises RefusedError above the rate."""
        if self._publishes is not None and not self._publishes.try_take():
            raise _too_fast()


METERED_BYTES: Final = limits.METERED_MESSAGE_BYTES


def metered(event_bytes: int) -> int:
    """Return the number of metered messages (units of 5 KB) that an event of ``event_bytes`` counts as."""
    return max(1, -(-event_bytes // METERED_BYTES))


def _bucket(rate_per_s: float | None, make: Callable[[float], TokenBucket]) -> TokenBucket | None:
    return None if rate_per_s is None else make(rate_per_s)


def _too_fast() -> RefusedError:
    return RefusedError(errors.LIMIT_EXCEEDED, HTTPStatus.TOO_MANY_REQUESTS)
