"""A proxy in front of a broker. It drops and repeats some deliveries, and keeps a journal of their events."""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import msgspec

from loadgen.measure.stamp import decode_event

PUBLISH, SUBSCRIBE = 3, 8
#: An event, as its publisher and its sequence number.
Event = tuple[int, int]


@dataclass
class Journal:
    """The events whose deliveries were dropped or repeated."""

    dropped: list[Event] = field(default_factory=list)
    #: Events that were also sent to another member of the group.
    repeated: list[Event] = field(default_factory=list)


class Proxy(threading.Thread):
    """Passes on the bytes of any number of connections to a broker at QoS 0, packet by packet.

    Of the deliveries to members of `$share/GROUP/…`, every ``drop_every``-th is dropped, and every
    ``repeat_every``-th is also sent to another member.
    """

    def __init__(self, broker_port: int, drop_every: int, repeat_every: int) -> None:
        super().__init__(daemon=True)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._broker_port, self._drop_every, self._repeat_every = broker_port, drop_every, repeat_every
        self.journal = Journal()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._members: list[socket.socket] = []
        self._held: dict[socket.socket, bytearray] = {}
        self._seen = 0
        self._wakes, self._wake = socket.socketpair()

    def stop(self) -> None:
        self._wake.close()
        self.join(10)

    def run(self) -> None:
        while True:
            readable, _, _ = select.select([self._listener, self._wakes, *self._peers], [], [])
            for each in readable:
                if each is self._wakes:
                    for one in (self._listener, self._wakes, *self._peers):
                        one.close()
                    return
                if each is self._listener:
                    self._accept()
                elif each in self._peers:
                    self._read(each)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        broker = socket.create_connection(("127.0.0.1", self._broker_port), 10)
        for one in (client, broker):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._held[one] = bytearray()
        self._peers[client], self._peers[broker] = broker, client
        self._clients.add(client)

    def _read(self, source: socket.socket) -> None:
        peer = self._peers[source]
        try:
            data = source.recv(65_536)
        except OSError:
            data = b""
        if not data:
            for one in (source, peer):
                del self._peers[one]
                self._clients.discard(one)
                if one in self._members:
                    self._members.remove(one)
                one.close()
            return
        held = self._held[source]
        held += data
        for packet in packets(held):
            if source in self._clients:
                if packet[0] >> 4 == SUBSCRIBE and b"$share/" in packet:
                    self._members.append(source)
                self._send(peer, packet)
            else:
                self._deliver(peer, packet)

    def _deliver(self, client: socket.socket, packet: bytes) -> None:
        event = event_of(packet) if client in self._members else None
        if event is not None:
            self._seen += 1
            if self._seen % self._drop_every == 0:
                self.journal.dropped.append(event)
                return
            if self._seen % self._repeat_every == 0:
                self.journal.repeated.append(event)
                self._send(next(each for each in self._members if each is not client), packet)
        self._send(client, packet)

    def _send(self, to: socket.socket, packet: bytes) -> None:
        with suppress(OSError):
            to.sendall(packet)


def packets(held: bytearray) -> Iterator[bytes]:
    """Remove complete packets from the beginning of the bytes, and yield them."""
    while len(held) >= 2:
        length = shift = 0
        for place in range(1, min(5, len(held))):
            length |= (held[place] & 0x7F) << shift
            shift += 7
            if held[place] < 0x80:
                break
        else:
            return
        size = 1 + place + length
        if len(held) < size:
            return
        packet = bytes(held[:size])
        del held[:size]
        yield packet


def event_of(packet: bytes) -> Event | None:
    """Return the event of an MQTT 5 PUBLISH without properties, or None for a probe or another packet."""
    if packet[0] >> 4 != PUBLISH:
        return None
    begin = packet.index(b"{") if b"{" in packet else len(packet)
    try:
        stamp = decode_event(packet[begin:].decode()).stamp
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return (stamp[1], stamp[2]) if stamp[1] >= 0 else None


@contextmanager
def before(broker_port: int, drop_every: int = 10, repeat_every: int = 15) -> Iterator[Proxy]:
    """Run a proxy."""
    proxy = Proxy(broker_port, drop_every, repeat_every)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
