"""The relay: pass each accepted event to the other processes of a server, which deliver it to their own subscribers.

Every two processes share a pair of stream sockets. A publish is one small message to each peer, however many
subscribers the event has in the peer. Peers without subscribers get the message too, so a subscription receives from
all publishers as soon as its own process has registered it. The events of one publisher's connection pass through one
process and one stream, which keeps their order.

A message is its length (4 bytes, little endian), followed by a msgpack array of channel and events. A length of 0 is a
mark: see `Relay.settle`.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from loadgen.server.hub import Counters, Hub
from loadgen.server.quotas import ApiRates

BUFFER_LIMIT_BYTES: Final = 1024 * 1024
"""Number of bytes waiting for a peer above which publishing must wait; bytes in the kernel's socket buffer do not
count."""

_READ_BYTES: Final = 256 * 1024
#: Number of deliveries of peers' events after which a process lets its event loop serve other connections.
_DELIVERIES_A_TURN: Final = 1000
_SETTLE_TIMEOUT_S: Final = 1.0
_LENGTH: Final = struct.Struct("<I")
_MARK: Final = _LENGTH.pack(0)


class _Publish(msgspec.Struct, array_like=True, gc=False):
    channel: str
    events: list[str]


_encode_into = msgspec.msgpack.Encoder().encode_into
_decode = msgspec.msgpack.Decoder(_Publish).decode


def mesh(processes: int) -> list[list[socket.socket]]:
    """Connect each process with every other by a socket pair; return for each process a list of its ends.

    Raises:
        OSError: the limit on open files is reached.
    """
    ends: list[list[socket.socket]] = [[] for _ in range(processes)]
    for one in range(processes):
        for other in range(one):
            for owner, end in zip((one, other), socket.socketpair(), strict=True):
                end.setblocking(False)
                ends[owner].append(end)
    return ends


class _Link:
    """The stream to and from one peer."""

    def __init__(
        self,
        end: socket.socket,
        deliver: Callable[[str, Sequence[str]], int],
        on_change: Callable[[], None],
    ) -> None:
        self._end = end
        self._deliver = deliver
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._received = bytearray()
        self.open = True
        self.marked = False
        """True once the peer has sent its mark: a message of length 0 that `Relay.settle` waits for."""
        self._loop.add_reader(end, self._read)

    @property
    def full(self) -> bool:
        """True if more than `BUFFER_LIMIT_BYTES` of data waits for the peer."""
        return len(self._unsent) > BUFFER_LIMIT_BYTES

    def send(self, message: bytes | bytearray) -> None:
        """Write at once what the kernel accepts, so that the peer delivers without delay; write the rest later."""
        if not self.open:
            return
        sent = 0
        if not self._unsent:
            sent = self._write(message)
            if sent == len(message) or not self.open:
                return
            self._loop.add_writer(self._end, self._write_rest)
        with memoryview(message) as view:
            self._unsent += view[sent:]

    def close(self) -> None:
        """Close the stream and discard its unsent data."""
        if not self.open:
            return
        self.open = False
        self._loop.remove_reader(self._end)
        self._loop.remove_writer(self._end)
        self._unsent.clear()
        self._end.close()
        self._on_change()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._end.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # The peer process has ended. The parent process also notices this and stops the server.
            self.close()
            return 0

    def _write_rest(self) -> None:
        del self._unsent[: self._write(self._unsent)]
        if not self.open:
            return
        if not self._unsent:
            self._loop.remove_writer(self._end)
        self._on_change()

    def _read(self) -> None:
        try:
            data = self._end.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        if not self._take():
            self._loop.remove_reader(self._end)
            self._loop.call_soon(self._take_rest)

    def _take_rest(self) -> None:
        if not self.open:
            return
        if self._take():
            self._loop.add_reader(self._end, self._read)
        else:
            self._loop.call_soon(self._take_rest)

    def _take(self) -> bool:
        """Deliver the complete messages; return False if the limit for one turn of the loop was reached first."""
        received, begin, delivered = self._received, 0, 0
        with memoryview(received) as view:
            while delivered < _DELIVERIES_A_TURN:
                body = begin + _LENGTH.size
                if body > len(received):
                    break
                end = body + _LENGTH.unpack_from(received, begin)[0]
                if end > len(received):
                    break
                begin = end
                if body == end:
                    self.marked = True
                    self._on_change()
                    continue
                publish = _decode(view[body:end])
                # Reading a publish takes time even without subscribers in this process, so it counts as one delivery.
                delivered += 1 + self._deliver(publish.channel, publish.events) * len(publish.events)
        del received[:begin]
        return delivered < _DELIVERIES_A_TURN


class Relay:
    """The streams from this process to all its peers; create it in a running event loop."""

    def __init__(self, ends: Sequence[socket.socket], deliver: Callable[[str, Sequence[str]], int]) -> None:
        self._message = bytearray()
        self._changed = asyncio.Event()
        self._links = [_Link(end, deliver, self._changed.set) for end in ends]

    @property
    def full(self) -> bool:
        """True if publishing must wait, because more than `BUFFER_LIMIT_BYTES` of data waits for a peer."""
        return any(link.full for link in self._links)

    def send(self, channel: str, events: Sequence[str]) -> None:
        """Send the events to every peer."""
        message = self._message
        _encode_into(_Publish(channel, list(events)), message, _LENGTH.size)
        _LENGTH.pack_into(message, 0, len(message) - _LENGTH.size)
        for link in self._links:
            link.send(message)

    async def wait_for_room(self) -> None:
        """Return when at most `BUFFER_LIMIT_BYTES` of data waits for each peer."""
        await self._wait(lambda: not self.full)

    async def settle(self) -> None:
        """Wait until the events that the other server processes have published so far are delivered here.

        Each process sends a mark (a message of length 0) to all others and waits for their marks, for at most a second.
        A mark arrives after all earlier events of its sender. Every process calls this method before it closes its
        connections, so that acknowledged events still reach the subscribers.
        """
        for link in self._links:
            link.send(_MARK)
        try:
            async with asyncio.timeout(_SETTLE_TIMEOUT_S):
                await self._wait(lambda: all(link.marked or not link.open for link in self._links))
        except TimeoutError:
            return  # a blocked peer must not keep this process from closing its connections properly

    def close(self) -> None:
        """Close all streams."""
        for link in self._links:
            link.close()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()


class RelayingHub(Hub):
    """A hub that also relays its events to the other processes."""

    def __init__(
        self,
        write_buffer_limit_bytes: int,
        counters: Counters,
        ends: Sequence[socket.socket],
        rates: ApiRates,
    ) -> None:
        super().__init__(write_buffer_limit_bytes, counters)
        self._rates = rates
        self.relay = Relay(ends, self._deliver)

    @property
    def full(self) -> bool:
        """True if a publish must first await `wait_for_room`, because too many bytes wait for a peer."""
        return self.relay.full

    async def wait_for_room(self) -> None:
        """Return when publishing may continue."""
        await self.relay.wait_for_room()

    def publish(self, channel: str, events: Sequence[str]) -> int:
        """Deliver to the subscriptions of all processes; return the number of subscriptions reached in this process."""
        if events:
            self.relay.send(channel, events)
        return super().publish(channel, events)

    def close(self) -> None:
        """Close the streams to all peers."""
        self.relay.close()

    def _deliver(self, channel: str, events: Sequence[str]) -> int:
        """Deliver a peer's events to this process's subscriptions, and count the deliveries against their rate quota.

        Return the number of subscriptions that got the events.
        """
        written = super().publish(channel, events)
        if self._rates.meters_deliveries:
            for event in events:
                self._rates.delivered(written, len(event.encode()))
        return written
