"""Fan-out: write the events of a channel to every matching subscription.

The loop in `write_to_all` is the server's hot path. It makes one bytes object and one transport write per subscription,
however many events the batch has. A frame contains the head `{"type":"data","id":"..."`, which has the subscription's
id. The rest of the frame is the same for all subscriptions with a head of the same length. So the parts between the
heads are built once for each length, and joined with the head of each subscription.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.channels import SubscriptionIndex
from loadgen.server.frames import text_header


class Outlet(Protocol):
    """The sending side of a connection, as the hub uses it."""

    def write(self, data: bytes, /) -> None:
        """Append whole frames to the send buffer; raises RuntimeError when the socket is closed."""

    def buffered_bytes(self) -> int:
        """Return the number of bytes in the send buffer, which grows when the peer does not read."""

    def abort_slow_reader(self) -> None:
        """Abort the connection and discard its send buffer."""

    def write_at_once(self, data: bytes) -> None:
        """Write like `write`, but directly to the socket if the send buffer is empty and the socket accepts it."""

    def disconnect(self, code: int) -> None:
        """Close the connection with a code; 1006 cuts it without a close frame."""


@dataclass(slots=True)
class Counters:
    """Counts of the server's actions since its start."""

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
        # Bind the methods once, since the fan-out calls them for every delivery.
        self.write = outlet.write
        self.buffered_bytes = outlet.buffered_bytes
        self.abort = outlet.abort_slow_reader


def write_to_all(groups: Iterable[Collection[Subscription]], tails: Sequence[bytes], limit_bytes: int) -> int:
    """Write the frames of a batch to each subscription, in order; return the number of subscriptions written to.

    `tails` has one entry for each frame: the part of the message after the head, which contains the subscription's id.
    Nothing here yields to the event loop. So no other message can come between the frames of a connection, and the
    groups cannot change meanwhile. A connection with more than `limit_bytes` unsent is aborted, never waited for.
    """
    between_heads: dict[int, list[bytes]] = {}
    written = 0
    for group in groups:
        for subscription in group:
            length = subscription.head_length
            parts = between_heads.get(length)
            if parts is None:
                parts = between_heads[length] = _parts_between_heads(length, tails)
            # Load the methods into variables first: Python 3.11 calls a `__slots__` attribute more slowly if it loads
            # it in the same expression.
            write, buffered_bytes = subscription.write, subscription.buffered_bytes
            try:
                write(subscription.head.join(parts))
            except RuntimeError:
                # Ignore the error: the connection has just closed, and its task has not removed its subscriptions yet.
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
    """Stores the subscriptions of all connections and delivers events to them.

    A subclass (`loadgen.server.faults.injector`) injects faults and keeps the journal, a record of all deliveries, so
    that a server without faults and journal does no work for them.
    """

    def __init__(self, write_buffer_limit_bytes: int, counters: Counters) -> None:
        self._limit_bytes = write_buffer_limit_bytes
        self.counters = counters
        self._index: SubscriptionIndex[Subscription] = SubscriptionIndex()

    @property
    def full(self) -> bool:
        """True if a publish must first await `wait_for_room`; always False for this hub."""
        return False

    async def wait_for_room(self) -> None:
        """Return when publishing may continue."""

    def __len__(self) -> int:
        """Return the number of active subscriptions."""
        return len(self._index)

    def add(self, subscription: Subscription) -> None:
        """Begin to deliver to the subscription."""
        self._index.add(subscription.pattern, subscription)

    def remove(self, subscription: Subscription) -> None:
        """End the subscription."""
        self._index.remove(subscription.pattern, subscription)

    def rejects(self, channel: str, event: str) -> bool:
        """Return True to reject one event of an accepted publish; this hub never does."""
        return False

    def publish(self, channel: str, events: Sequence[str]) -> int:
        """Deliver the events, in order, to every subscription that matches a valid, normalised channel.

        Returns:
            The number of subscriptions written to; 0 if there are no events.
        """
        tails = [messages.data_tail(event) for event in events]
        if not tails:
            return 0
        written = write_to_all(self._index.buckets(channel), tails, self._limit_bytes)
        self.counters.events += len(tails)
        self.counters.deliveries += written * len(tails)
        return written

    def close(self) -> None:
        """Release the hub's resources; this hub has none."""
