"""Fan-out: from a channel to the frames of every matching subscription.

The loop in `write_to_all` is the server's hot path. For each subscriber it makes one bytes object and one
transport write, however many events the batch has: between two subscribers only the head
`{"type":"data","id":"..."` differs, so everything between the heads is built once for each length of head
and joined with the subscriber's own.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.channels import SubscriptionIndex
from loadgen.server.frames import text_header


class Outlet(Protocol):
    """The sending side of a connection."""

    def write(self, data: bytes) -> None:
        """Put whole frames behind what was written before; raises RuntimeError when the socket is gone."""

    def buffered_bytes(self) -> int:
        """Return how much waits because the peer does not read."""

    def abort_slow_reader(self) -> None:
        """Drop the connection and what waits for it."""


@dataclass(slots=True)
class Counters:
    """What the server has done since its start."""

    connections: int = 0
    connections_refused: int = 0
    slow_readers_aborted: int = 0
    publishes: int = 0
    events: int = 0
    deliveries: int = 0


class Subscription:
    """One subscription of one connection; compared by identity."""

    __slots__ = ("abort", "buffered_bytes", "head", "head_length", "id", "pattern", "write")

    def __init__(self, subscription_id: str, pattern: str, outlet: Outlet) -> None:
        self.id = subscription_id
        self.pattern = pattern
        self.head = messages.data_head(subscription_id)
        self.head_length = len(self.head)
        # Bound once: the fan-out calls them for every delivery.
        self.write = outlet.write
        self.buffered_bytes = outlet.buffered_bytes
        self.abort = outlet.abort_slow_reader


FanOut = Callable[[Iterable[Collection[Subscription]], Sequence[bytes], int], int]
"""(groups of subscriptions, tails of the data messages, write buffer limit) -> subscriptions written to."""


def write_to_all(groups: Iterable[Collection[Subscription]], tails: Sequence[bytes], limit_bytes: int) -> int:
    """Write one frame for each tail to each subscription, in order; return how many were written to.

    Nothing here yields to the event loop, so the frames of one connection cannot mix with its other
    messages and the groups cannot change on the way. A peer that does not read is dropped instead of waited
    for.
    """
    between_heads: dict[int, list[bytes]] = {}
    written = 0
    for group in groups:
        for subscription in group:
            length = subscription.head_length
            parts = between_heads.get(length)
            if parts is None:
                parts = between_heads[length] = _parts_between_heads(length, tails)
            try:
                subscription.write(subscription.head.join(parts))
            except RuntimeError:
                # Closed a moment ago; its own task has yet to take its subscriptions out.
                continue
            written += 1
            if subscription.buffered_bytes() > limit_bytes:
                subscription.abort()
    return written


def _parts_between_heads(head_length: int, tails: Sequence[bytes]) -> list[bytes]:
    headers = [text_header(head_length + len(tail)) for tail in tails]
    inner = [tail + header for tail, header in zip(tails, headers[1:], strict=False)]
    return [headers[0], *inner, tails[-1]]


class Hub:
    """The subscriptions of all connections, and the way of an event to them.

    `fan_out` does the writing; what delays, drops or journals deliveries takes its place and costs nothing
    when off.
    """

    def __init__(
        self, write_buffer_limit_bytes: int, counters: Counters, fan_out: FanOut = write_to_all
    ) -> None:
        self.fan_out = fan_out
        self._limit_bytes = write_buffer_limit_bytes
        self._counters = counters
        self._index: SubscriptionIndex[Subscription] = SubscriptionIndex()

    def __len__(self) -> int:
        """Return the number of live subscriptions."""
        return len(self._index)

    def add(self, subscription: Subscription) -> None:
        """Make the subscription live."""
        self._index.add(subscription.pattern, subscription)

    def remove(self, subscription: Subscription) -> None:
        """End the subscription."""
        self._index.remove(subscription.pattern, subscription)

    def publish(self, channel: str, events: Sequence[str]) -> None:
        """Deliver the events, in order, to every subscription that matches the valid, normalised channel."""
        tails = [messages.data_tail(event) for event in events]
        if not tails:
            return
        written = self.fan_out(self._index.buckets(channel), tails, self._limit_bytes)
        self._counters.events += len(tails)
        self._counters.deliveries += written * len(tails)
