"""A service in a separate process that sends frames in chosen segments, and reports where each frame ends."""

import multiprocessing
import random
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from websockets.http11 import Request
from websockets.server import ServerProtocol

from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames

TOKEN = 7


@dataclass(frozen=True)
class Order:
    """What to send to each connection: the number of frames, sent `batch` at a time in `cuts` + 1 segments.

    The pause between two segments of a connection is random: ``least_pause_s`` plus at most ``pause_s``.
    ``sizes`` are the sizes of the events in bytes. With ``cut_answer`` the answer to the upgrade is sent in
    two parts.
    """

    frames: int
    batch: int = 1
    cuts: int = 0
    pause_s: float = 0.001
    least_pause_s: float = 0.0
    sizes: Sequence[int] = (90, 200, 900)
    lines: bool = False
    cut_answer: bool = False


class _Peer:
    """A connection that counts the bytes it has sent."""

    def __init__(self, peer: socket.socket, context: ssl.SSLContext | None, lines: bool, cut: bool) -> None:
        self.peer, self.sent = peer, 0
        self.port = peer.getpeername()[1]
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls: ssl.SSLObject | None = None
        if context is not None:
            self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            while True:
                try:
                    self._tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self.send(self._outgoing.read())
                    self._incoming.write(peer.recv(65536))
            self.send(self._outgoing.read())
        if not lines:
            protocol = ServerProtocol()
            while not (events := protocol.events_received()):
                protocol.receive_data(self._read())
            (request,) = events
            assert isinstance(request, Request)
            protocol.send_response(protocol.accept(request))
            answer = self.sealed(b"".join(protocol.data_to_send()))
            if cut:
                self.send(answer[:40])
                time.sleep(0.05)
                answer = answer[40:]
            self.send(answer)

    def _read(self) -> bytes:
        while self._tls is not None:
            try:
                return self._tls.read(65536)
            except ssl.SSLWantReadError:
                self._incoming.write(self.peer.recv(65536))
        return self.peer.recv(65536)

    def send(self, data: bytes) -> None:
        self.peer.sendall(data)
        self.sent += len(data)

    def sealed(self, data: bytes) -> bytes:
        if self._tls is None:
            return data
        self._tls.write(data)
        return self._outgoing.read()


def _host(pipe: Connection) -> None:
    while (asked := pipe.recv()) is not None:
        _serve(pipe, *asked)


def _serve(pipe: Connection, connections: int, certificate: Path | None, lines: bool, cut: bool) -> None:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    pipe.send(listener.getsockname()[1])
    peers = []
    with listener:
        for _ in range(connections):
            peers.append(_Peer(listener.accept()[0], context, lines, cut))
            pipe.send(peers[-1].port)
    draws = random.Random(1)
    order: Order = pipe.recv()
    ends: dict[int, list[int]] = {peer.port: [] for peer in peers}
    number = 0
    while number < order.frames:
        batch = min(order.batch, order.frames - number)
        pending = []
        for peer in peers:
            data, places = b"", []
            for each in range(number, number + batch):
                event = encode_event(TOKEN, 1, each, 1, time.time_ns(), draws.choice(order.sizes))
                text = messages.data("s1", event)
                data += peer.sealed(text + b"\n" if lines else frames.text_frame(text))
                places.append(len(data))
            ends[peer.port] += [peer.sent + place for place in places]
            cuts = sorted(draws.randrange(1, len(data)) for _ in range(order.cuts))
            edges = [0, *cuts, len(data)]
            pending.append([data[a:b] for a, b in pairwise(edges) if b > a])
        # Send one segment to each connection in turn, as a fan-out does.
        while any(pending):
            for peer, parts in zip(peers, pending, strict=True):
                if parts:
                    peer.send(parts.pop(0))
            time.sleep(order.least_pause_s + draws.random() * order.pause_s)
        number += batch
    pipe.send(ends)
    pipe.recv()
    for peer in peers:
        peer.peer.close()


class Host:
    """A process that runs several senders in turn, because starting it takes longer than most senders run."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self._process = context.Process(target=_host, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self.idle = True

    def take(self) -> Connection:
        """Return the pipe to the sending process; replace the process if its last task did not finish."""
        if not self.idle:
            self._process.kill()
            self._begin()
        self.idle = False
        return self.pipe

    def stop(self) -> None:
        """End the process."""
        if self.idle:
            self.pipe.send(None)
            self._process.join(5)
        self._process.kill()


class Sender:
    """A service that runs in the process of a `Host` and serves a given number of connections."""

    def __init__(
        self,
        host: Host,
        connections: int,
        certificate: Path | None = None,
        lines: bool = False,
        cut: bool = False,
    ) -> None:
        self._host, self._pipe = host, host.take()
        self._pipe.send((connections, certificate, lines, cut))
        self.port: int = self._pipe.recv()

    def accepted(self) -> int:
        """Wait for a connection to be accepted; return its port."""
        port: int = self._pipe.recv()
        return port

    def begin(self, order: Order) -> None:
        """Begin to send."""
        self._pipe.send(order)

    def done(self) -> dict[int, Any] | None:
        """Return where each frame ends in the stream sent to each port, or None if sending goes on."""
        if not self._pipe.poll():
            return None
        ends: dict[int, Any] = self._pipe.recv()
        return ends

    def stop(self) -> None:
        """Hang up."""
        self._pipe.send(None)
        self._host.idle = True


def burn(seconds: float) -> "subprocess.Popen[bytes]":
    """Keep a core busy for some seconds by a separate process; return the process."""
    code = f"import time\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: sum(range(1_000))"
    return subprocess.Popen([sys.executable, "-S", "-c", code])
