"""The sender for all receivers: it lets clients subscribe as a service does, then sends events to all subscribers.

This module has the protocol of an Event API; services.py has the other protocols. The sender accepts any client (with
the subprotocol that the client asks for, and over TLS if `serve` got an authority), and answers `connection_init` and
`subscribe`. For each `Order` it sends events like a service's fan-out: each event to every subscriber, with one write
per connection. Frames are made (and encrypted) before the event is due, so the writes follow each other as fast as the
kernel accepts them, and TLS does not delay the event. The sender's CPU time does not count.
"""

import json
import selectors
import signal
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import trustme
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from loadgen.measure.stamp import STAMP_KEY
from receive import saturating
from receive.payloads import PADDING, PAYLOADS, Payload

TOKEN = 7
FRAME_BYTES = PADDING.frame_bytes
HOST = "127.0.0.1"
#: Size of a socket's send buffer: small, so that even a slow receiver soon reads all that was sent.
_SEND_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Order:
    """How to send: events per second (None: as fast as they are read), frames per write, seconds, and payload."""

    events_per_s: float | None
    frames_per_write: int
    seconds: float
    payload: Payload = PADDING


@dataclass(frozen=True)
class Sent:
    """The result of an `Order`: frames and their bytes, start and end (ns since 1970), and the sender's CPU seconds."""

    frames: int
    bytes: int
    began_ns: int
    ended_ns: int
    cpu_s: float


class Subscriber:
    """One connection: answers its handshakes, then makes the frames of its events, which differ only in their stamps.

    This class has the protocol of AppSync Events; other classes override `received`.
    """

    title = "AppSync Events"

    def __init__(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.socket = connection
        self.subscribed = False
        #: Bytes written to the connection before the first event.
        self.handshake_bytes = 0
        self._protocol = ServerProtocol(select_subprotocol=lambda _, offered: offered[0] if offered else None)
        #: By payload: the bytes before the first stamp, between two stamps, and after the last stamp.
        self._around: dict[Payload, tuple[bytes, bytes, bytes]] = {}
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._incoming, self._outgoing, server_side=True) if tls else None
        self._tls_ready = False

    def read(self) -> bool:
        """Process the received bytes; return False if the connection has ended."""
        data = self.socket.recv(65536)
        if not data:
            return False
        if self._tls is not None:
            data = self._decrypted(data)
        if data and (answer := self.received(data)):
            self.handshake_bytes += len(answer)
            self.socket.sendall(self._wire(answer))
        return True

    def received(self, data: bytes) -> bytes:
        """Process received bytes; return the answer."""
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT:
                    self._answer(json.loads(bytes(event.data)))
            else:
                self._protocol.send_response(self._protocol.accept(event))  # type: ignore[arg-type]
        return b"".join(self._protocol.data_to_send())

    def frames(self, stamps: list[bytes], payload: Payload) -> bytes:
        """Return the bytes of one frame per stamp."""
        before, between, after = self._around[payload]
        return self._wire(before + between.join(stamps) + after)

    def around(self, payload: Payload, before: bytes, after: bytes) -> None:
        """Set the bytes of a frame before and after the stamp."""
        self._around[payload] = before, after + before, after

    def _wire(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._outgoing.read()

    def _decrypted(self, data: bytes) -> bytes:
        assert self._tls is not None
        self._incoming.write(data)
        plain = b""
        try:
            if not self._tls_ready:
                self._tls.do_handshake()
                self._tls_ready = True
            while part := self._tls.read(65536):
                plain += part
        except ssl.SSLWantReadError:
            pass
        if answer := self._outgoing.read():
            self.socket.sendall(answer)
        return plain

    def _answer(self, frame: dict[str, str]) -> None:
        if frame["type"] == "connection_init":
            self._say({"type": "connection_ack", "connectionTimeoutMs": 300_000})
        elif frame["type"] == "subscribe":
            self._prepare(frame["id"])
            self._say({"type": "subscribe_success", "id": frame["id"]})
            self.subscribed = True

    def _say(self, message: dict[str, object]) -> None:
        self._protocol.send_text(json.dumps(message).encode())

    def _prepare(self, number: str) -> None:
        """Make the bytes before and after the stamp of a frame, for each payload.

        All frames with a payload have the same length, whatever the subscription's id.
        """
        event = f'{{\\"{STAMP_KEY}\\":[{TOKEN},1,'
        head = f'{{"id":"{number}","type":"data","event":"{event}'.encode()
        for payload in PAYLOADS:
            body = payload.frame_bytes - 4
            tail = b"]%s}" + b'"}'
            room = body - len(head) - len(stamp_text(0, 0)) - len(tail % b"")
            after = tail % payload.members(room)
            before = struct.pack("!BBH", 0x80 | Opcode.TEXT, 126, body) + head
            self.around(payload, before, after)


def stamp_text(sequence: int, at_ns: int) -> bytes:
    """Return sequence, intended time and sent time as text of constant length."""
    return b"%010d,%019d,%019d" % (1_000_000_000 + sequence, at_ns or 10**18, at_ns or 10**18)


def serve(
    pipe: Connection, subscribers: int, authority: Path | None, service: type[Subscriber] = Subscriber
) -> None:
    """Serve the subscribers with the protocol class ``service``, as the messages on ``pipe`` demand.

    Writes the port to the pipe. When all have subscribed, writes the number of bytes sent to them so far. Then executes
    each :class:`Order` that arrives on the pipe and writes its :class:`Sent`, until None arrives. If ``authority`` is a
    path, uses TLS and writes the authority's certificate to that path.
    """
    # Ctrl-C on the terminal must not reach the sender: its parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tls = _tls(authority) if authority else None
    listener = socket.create_server((HOST, 0), backlog=4096)
    listener.setblocking(False)
    pipe.send(listener.getsockname()[1])
    people = _subscribed(listener, subscribers, tls, service)
    pipe.send(sum(person.handshake_bytes for person in people))
    sequence = 0
    while (order := pipe.recv()) is not None:
        _answer_pings(people)
        in_c = order.events_per_s is None and tls is None and saturating.available()
        sent = (_saturate if in_c else _send)(people, sequence, order)
        sequence += sent.frames
        pipe.send(sent)
    for person in people:
        person.socket.close()


def _tls(authority: Path) -> ssl.SSLContext:
    issuer = trustme.CA()
    issuer.cert_pem.write_to_path(str(authority))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(HOST).configure_cert(context)
    return context


def _subscribed(
    listener: socket.socket, subscribers: int, tls: ssl.SSLContext | None, service: type[Subscriber]
) -> list[Subscriber]:
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    people: list[Subscriber] = []
    while sum(person.subscribed for person in people) < subscribers:
        for key, _ in selector.select(1.0):
            if key.data is None:
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
                person = service(connection, tls)
                people.append(person)
                selector.register(connection, selectors.EVENT_READ, person)
            elif not key.data.read():
                selector.unregister(key.fileobj)
                people.remove(key.data)
    return people


def _saturate(people: list[Subscriber], sequence: int, order: Order) -> Sent:
    """Send as fast as subscribers read, in C."""
    began_ns, cpu_s, count = time.time_ns(), time.process_time(), order.frames_per_write
    stamps = [stamp_text(sequence + place, began_ns) for place in range(count)]
    writes = [person.frames(stamps, order.payload) for person in people]
    sockets = [person.socket.fileno() for person in people]
    frames = (
        saturating.saturate(sockets, writes, stamps[0], count, sequence, order.seconds) * count * len(people)
    )
    size = frames * order.payload.frame_bytes
    return Sent(frames, size, began_ns, time.time_ns(), time.process_time() - cpu_s)


def _answer_pings(people: list[Subscriber]) -> None:
    """Read and answer the messages that clients have sent since they subscribed, such as pings."""
    with selectors.DefaultSelector() as selector:
        for person in people:
            selector.register(person.socket, selectors.EVENT_READ, person)
        for key, _ in selector.select(0):
            key.data.read()


def _send(people: list[Subscriber], sequence: int, order: Order) -> Sent:
    """Send evenly spaced events; an event that is due while the previous one is written follows it at once."""
    began_ns, began_s, cpu_s = time.time_ns(), time.monotonic(), time.process_time()
    period_s = 1 / order.events_per_s if order.events_per_s else 0.0
    events = 0
    while True:
        due_s = max(events * period_s, time.monotonic() - began_s)
        if due_s >= order.seconds:
            break
        first, at_ns = sequence + events * order.frames_per_write, began_ns + int(due_s * 1e9)
        stamps = [stamp_text(first + place, at_ns) for place in range(order.frames_per_write)]
        writes: list[tuple[Callable[[bytes], None], bytes]] = [
            (person.socket.sendall, person.frames(stamps, order.payload)) for person in people
        ]
        early_s = due_s - (time.monotonic() - began_s)
        if early_s > 0:
            time.sleep(early_s)
        for write, data in writes:
            write(data)
        events += 1
    # The last event has a period too: wait until it ends.
    time.sleep(max(0.0, order.seconds - (time.monotonic() - began_s)))
    frames = events * order.frames_per_write * len(people)
    total = frames * order.payload.frame_bytes
    return Sent(frames, total, began_ns, time.time_ns(), time.process_time() - cpu_s)
