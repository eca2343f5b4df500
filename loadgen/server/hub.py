"""Fan-out: from a channel to the frames of every matching subscription.

The loop in `write_to_all` is the server's hot path. For each subscriber it makes one bytes object and one
transport write, however many events the batch has: between two subscribers only the head
`{"type":"data","id":"..."` differs, so everything between the heads is built once for each length of head
and joined with the subscriber's own.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.channels import SubscriptionIndex
from loadgen.server.frames import text_header


class Outlet(Protocol):
    """The sending side of a connection."""

    def write(self, data: bytes, /) -> None:
        """Put whole frames behind what was written before; raises RuntimeError when the socket is gone."""

    def buffered_bytes(self) -> int:
        """Return how much waits because the peer does not read."""

    def abort_slow_reader(self) -> None:
        """Drop the connection and what waits for it."""

    def write_at_once(self, data: bytes) -> None:
        """Like `write`, but on the wire when this returns, where nothing waits and the socket takes it."""

    def disconnect(self, code: int) -> None:
        """Close with that code; 1006: cut the connection without a close frame."""


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

    __slots__ = ("abort", "buffered_bytes", "head", "head_length", "id", "outlet", "pattern", "write")

    def __init__(self, subscription_id: str, pattern: str, outlet: Outlet) -> None:
        self.id = subscription_id
        self.pattern = pattern
        self.outlet = outlet
        self.head = messages.data_head(subscription_id)
        self.head_length = len(self.head)
        # Bound once: the fan-out calls them for every delivery.
        self.write = outlet.write
        self.buffered_bytes = outlet.buffered_bytes
        self.abort = outlet.abort_slow_reader


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
            # Fetched, then called: Python 3.11 has no fast way to call what a slot holds in one step.
            write, buffered_bytes = subscription.write, subscription.buffered_bytes
            try:
                write(subscription.head.join(parts))
            except RuntimeError:
                # Closed a moment ago; its own task has yet to take its subscriptions out.
                continue
            written += 1
            if buffered_bytes() > limit_bytes:
                subscription.abort()
    return written


def _parts_between_heads(head_length: int, tails: Sequence[bytes]) -> list[bytes]:
    headers = [text_header(head_length + len(tail)) for tail in tails]
    inner = [tail + header for tail, header in zip(tails, headers[1:], strict=False)]
    return [headers[0], *inner, tails[-1]]


class Hub:
    """The subscriptions of all connections, and the way of an event to them.

    What delays, drops or journals deliveries is a subclass (`loadgen.server.faults`), so that it costs nothing where it
    is not wanted.
    """

    def __init__(self, write_buffer_limit_bytes: int, counters: Counters) -> None:
        self._limit_bytes = write_buffer_limit_bytes
        self.counters = counters
        self._index: SubscriptionIndex[Subscription] = SubscriptionIndex()

    @property
    def full(self) -> bool:
        """Whether to call `wait_for_room` before `publish`; this hub never makes anybody wait."""
        return False

    async def wait_for_room(self) -> None:
        """Return when publishing may go on."""

    def __len__(self) -> int:
        """Return the number of live subscriptions."""
        return len(self._index)

    def add(self, subscription: Subscription) -> None:
        """Make the subscription live."""
        self._index.add(subscription.pattern, subscription)

    def remove(self, subscription: Subscription) -> None:
        """End the subscription."""
        self._index.remove(subscription.pattern, subscription)

    def rejects(self, channel: str, event: str) -> bool:
        """Whether to refuse one event of an accepted publish; this hub never does."""
        return False

    def publish(self, channel: str, events: Sequence[str]) -> int:
        """Deliver the events, in order, to every subscription that matches the valid, normalised channel.

        Returns how many those are.
        """
        tails = [messages.data_tail(event) for event in events]
        if not tails:
            return 0
        written = write_to_all(self._index.buckets(channel), tails, self._limit_bytes)
        self.counters.events += len(tails)
        self.counters.deliveries += written * len(tails)
        return written

    def close(self) -> None:
        """Give back what the hub holds; this one holds nothing."""
