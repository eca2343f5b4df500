"""Accept connections and subscriptions as a service does, then send events to all subscriptions in turn.

The CPU time of this sender does not count.

Unlike the sender of `benchmarks/receive`, it supports any number of subscriptions per connection and any event size.
"""

import base64
import contextlib
import hashlib
import json
import re
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync import messages

TOKEN = 7
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_PROTOCOL = re.compile(rb"sec-websocket-protocol: *([^,\r]+)", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TICK_S = 0.0005


@dataclass(frozen=True)
class Order:
    """What to send: the events' size, their rate (None for as fast as the receiver reads), and the events per write."""

    per_s: float | None
    seconds: float
    size_bytes: int
    in_one_write: int = 1


class Peer:
    """One connection: its upgrade, then its subscriptions."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.subscriptions: list[bytes] = []
        self._read = b""
        self._upgraded = False

    def take(self) -> bool:
        """Process the received bytes; return False if the connection has ended."""
        data = self.socket.recv(1 << 16)
        if not data:
            return False
        self._read += data
        if not self._upgraded:
            end = self._read.find(b"\r\n\r\n")
            if end < 0:
                return True
            headers, self._read = self._read[:end], self._read[end + 4 :]
            self._upgrade(headers)
        while frame := self._frame():
            self._answer(json.loads(frame))
        return True

    def _upgrade(self, headers: bytes) -> None:
        key, protocol = _KEY.search(headers), _PROTOCOL.search(headers)
        assert key is not None
        assert protocol is not None
        accept = base64.b64encode(hashlib.sha1(key[1] + _GUID).digest())
        self.socket.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\nSec-WebSocket-Protocol: %b\r\n\r\n" % (accept, protocol[1])
        )
        self._upgraded = True

    def _frame(self) -> bytes | None:
        data = self._read
        if len(data) < 6:
            return None
        length, begin = data[1] & 0x7F, 2
        if length >= 126:
            begin = 4 if length == 126 else 10
            length = int.from_bytes(data[2:begin], "big")
        end = begin + 4 + length
        if len(data) < end:
            return None
        mask = data[begin : begin + 4]
        self._read = data[end:]
        return bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[begin + 4 : end]))

    def _answer(self, message: dict[str, Any]) -> None:
        if message["type"] == "connection_init":
            self.socket.sendall(frame(messages.connection_ack(300_000)))
        elif message["type"] == "subscribe":
            self.subscriptions.append(messages.data_head(message["id"]))
            self.socket.sendall(frame(messages.subscribe_success(message["id"])))


def frame(message: bytes) -> bytes:
    """Return a server's text frame."""
    return head_of_frame(len(message)) + message


def head_of_frame(size: int) -> bytes:
    """Return the header of a server's text frame with a payload of ``size`` bytes."""
    if size < 126:
        return b"\x81%c" % size
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def serve(pipe: Connection, connections: int, subscriptions: int) -> None:
    """Write the port to ``pipe``, then "ready" when all have subscribed; execute each `Order` that arrives there.

    After each order, write the number of events sent. End when None arrives.
    """
    with (
        socket.create_server(("127.0.0.1", 0), backlog=4096) as listener,
        selectors.DefaultSelector() as selector,
    ):
        listener.setblocking(False)
        pipe.send(listener.getsockname()[1])
        selector.register(listener, selectors.EVENT_READ)
        peers: list[Peer] = []
        subscribed = 0
        while len(peers) < connections or subscribed < connections * subscriptions:
            for key, _ in selector.select(1.0):
                if key.data is None:
                    connection, _ = listener.accept()
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    peers.append(Peer(connection))
                    selector.register(connection, selectors.EVENT_READ, peers[-1])
                    continue
                before = len(key.data.subscriptions)
                if not key.data.take():
                    return
                subscribed += len(key.data.subscriptions) - before
        pipe.send("ready")
        # Alternate between connections, so that two consecutive events go to different ones.
        targets = [
            (peer.socket, peer.subscriptions[place]) for place in range(subscriptions) for peer in peers
        ]
        sequence = 0
        while (order := pipe.recv()) is not None:
            sent = _send(targets, sequence, order)
            sequence += sent
            pipe.send(sent)
        for peer in peers:
            peer.socket.close()


def _send(targets: list[tuple[socket.socket, bytes]], sequence: int, order: Order) -> int:
    tail_of = _tails(order.size_bytes)
    began_s = time.monotonic()
    sent = writes = 0
    tails: list[bytes] = []
    with contextlib.suppress(ConnectionError):
        while (elapsed_s := time.monotonic() - began_s) < order.seconds:
            due = None if order.per_s is None else int(elapsed_s * order.per_s)
            if due is not None and sent + order.in_one_write > due:
                time.sleep(_TICK_S)
                continue
            place = writes % len(targets)
            if place == 0:
                # All subscriptions get the same events, as in a fan-out, so make the events once per round.
                now_ns = time.time_ns()
                tails = [tail_of(sequence + sent + k, now_ns) for k in range(order.in_one_write)]
            connection, head = targets[place]
            start = head_of_frame(len(head) + len(tails[0])) + head
            connection.sendall(start + start.join(tails))
            sent += order.in_one_write
            writes += 1
    return sent


def _tails(size_bytes: int) -> Callable[[int, int], bytes]:
    """Return a function of (sequence, time) that makes the part of a frame after the subscription's id.

    The parts differ only in their stamps.
    """
    # Make a sample event whose numbers have as many digits as those of all later stamps, so that all frames are equally
    # long.
    first, at_ns = 10**9, time.time_ns()
    text = messages.data_tail(encode_event(TOKEN, 1, first, at_ns, at_ns, size_bytes))
    before, _, after = text.partition(b"%d,%d,%d" % (first, at_ns, at_ns))
    return lambda sequence, now_ns: b"%b%d,%d,%d%b" % (before, first + sequence, now_ns, now_ns, after)
