"""Run three clients on real sockets with a real poller; the service sends one of them bad data."""

import contextlib
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import mqtt5
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from loadgen import native, protocol_file
from loadgen.measure.failures import Failures
from loadgen.measure.recorder import Recorder
from loadgen.measure.sinks import Sinks
from loadgen.measure.spool import SpoolWriter, read_batches
from loadgen.payloads.stamping import Stamping
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import Service, Session, SessionHandler
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.service import MqttService
from loadgen.resolve import ClientPlan, SubscriptionPlan
from loadgen.run.readiness import SettledReadiness
from loadgen.transport import poller as pollers
from loadgen.transport.address import Address
from loadgen.users.connection import ClientConnection
from loadgen.users.worker import NoLogins, Progress
from tests.isolation import corpus

#: Number of the client to which the service sends bad data; the others are 0 and 2.
BAD = 1
CHANNEL = "/default/a"


class Peer:
    """The service's side of one connection."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self.socket = sock if context is None else context.wrap_socket(sock, server_side=True)
        self.protocol = ServerProtocol()

    def upgrade(self) -> None:
        while not (events := self.protocol.events_received()):
            self.protocol.receive_data(self.heard())
        (request,) = events
        assert isinstance(request, Request)
        self.protocol.send_response(self.protocol.accept(request))
        self.send(b"".join(self.protocol.data_to_send()))

    def heard(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionResetError("the client hung up")
        return data

    def message(self) -> bytes:
        while not (events := self.protocol.events_received()):
            self.protocol.receive_data(self.heard())
        return b"".join(frame.data for frame in events if isinstance(frame, Frame))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def say(self, message: bytes) -> None:
        self.send(frame(message))


def frame(message: bytes, opcode: Opcode = Opcode.TEXT, fin: bool = True) -> bytes:
    return Frame(opcode, message, fin=fin).serialize(mask=False)


def greet_appsync(peer: Peer, number: int) -> None:
    peer.upgrade()
    peer.message()
    peer.say(messages.connection_ack(300_000))
    peer.message()
    peer.say(messages.subscribe_success(f"s{number}"))


def greet_nats(peer: Peer, number: int) -> None:
    peer.upgrade()
    peer.say(b"INFO {}\r\n")
    peer.message()
    peer.say(b"+OK\r\n")
    peer.message()
    peer.say(b"+OK\r\n")


def greet_mqtt(peer: Peer, number: int) -> None:
    peer.socket.recv(65536)
    peer.send(mqtt5.ConnAckPacket(receive_max=10).write())
    packet, _ = mqtt5.read(memoryview(peer.socket.recv(65536)))
    assert isinstance(packet, mqtt5.SubscribePacket)
    peer.send(
        mqtt5.SubAckPacket(packet.packet_id, [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]).write()
    )


@dataclass(frozen=True)
class Kind:
    """The service's side of a protocol; ``messages`` are valid and invalid messages, as bytes on the wire."""

    service: Callable[[int, bool], Service]
    greet: Callable[[Peer, int], None]
    delivery: Callable[[int, int], bytes]
    messages: Sequence[bytes]
    framed: bool = True


def _appsync(port: int, tls: bool) -> Service:
    return AppSyncEvents(Endpoints.from_url(f"http{'s' * tls}://127.0.0.1:{port}/event"), ApiKey("k3y"))


def _nats(port: int, tls: bool) -> Service:
    target = f"nats+ws{'s' * tls}://127.0.0.1:{port}"
    protocol = protocol_file.protocol_at(target)
    return protocol.service(protocol.endpoints(target), None)


def _mqtt(port: int, tls: bool) -> Service:
    return MqttService(BrokerUrl.from_url(f"mqtt{'s' * tls}://127.0.0.1:{port}"), None)


KINDS = {
    "appsync": Kind(
        _appsync, greet_appsync, lambda n, k: frame(messages.data(f"s{n}", corpus.event(k))), corpus.APPSYNC
    ),
    "nats": Kind(
        _nats,
        greet_nats,
        lambda n, k: frame(
            b"MSG default.a s%d %d\r\n%b\r\n" % (n, len(corpus.event(k)), corpus.event(k).encode())
        ),
        corpus.NATS,
    ),
    "mqtt": Kind(
        _mqtt,
        greet_mqtt,
        lambda n, k: mqtt5.PublishPacket("default/a", corpus.event(k).encode()).write(),
        corpus.MQTT,
        framed=False,
    ),
}


@dataclass
class Outcome:
    """The results of the three clients."""

    recorder: Recorder
    failures: Failures
    connections: list[ClientConnection]
    folder: Path
    ended: list[int] = field(default_factory=list)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return [
            row
            for path in sorted(self.folder.glob(f"{table}-*"))
            for batch in read_batches(path)
            for row in batch.to_pylist()
        ]

    def received(self) -> Counter[int]:
        return Counter(row["subscription"] for row in self.rows("deliveries"))


class Overheard:
    """Wraps a service: its sessions call the handler that ``hearing`` returns for the client's own handler."""

    def __init__(self, service: Service, hearing: Callable[[SessionHandler], SessionHandler]) -> None:
        self._service, self._hearing = service, hearing

    def session(self, handler: SessionHandler, name: str = "") -> Session:
        return self._service.session(self._hearing(handler), name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


@contextlib.contextmanager
def poller(kind: str) -> Iterator[None]:
    """Within the block, read sockets with the native poller if ``kind`` is "native", else with the Python poller."""
    was = native.available
    native.available = kind == "native"
    pollers._pollers.clear()
    try:
        yield
    finally:
        native.available = was
        pollers._pollers.clear()


def meet(
    folder: Path,
    name: str,
    bad: Callable[[int], bytes],
    *,
    count: int = 20,
    context: ssl.SSLContext | None = None,
    hearing: Callable[[SessionHandler], SessionHandler] | None = None,
) -> Outcome:
    """Let three clients subscribe and receive ``count`` events each; return what became of them.

    The service sends the bad client ``bad(k)``, which are bytes on the wire, before the k-th event.
    ``hearing`` may replace the bad client's handler: it gets the handler, and returns the one that the client's session
    calls. The client's deliveries are then examined in Python.
    """
    kind = KINDS[name]
    ready, sent = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        service = kind.service(listener.getsockname()[1], context is not None)
        taken: Counter[int] = Counter()
        sinks = Sinks(lambda subscriptions, _: taken.update(subscriptions.tolist()))
        recorder, failures = Recorder(7, SpoolWriter(folder, 0), sinks=sinks), Failures()
        run: Any = SimpleNamespace(
            recorder=recorder,
            stamping=Stamping(),
            service=service,
            logins=NoLogins(service),
            address=Address(service.connect_url, service.tls),
            readiness=SettledReadiness(0),
            progress=Progress(),
            failures=failures,
            report_error=lambda reason, fatal: None,
        )
        bad_run: Any = SimpleNamespace(**vars(run))
        examined = None
        if hearing is not None:
            bad_run.service, examined = Overheard(service, hearing), lambda channel, event: None
            bad_run.logins = NoLogins(bad_run.service)
        connections = [
            ClientConnection(
                bad_run if n == BAD else run,
                ClientPlan(n, "g", n, (SubscriptionPlan(n, CHANNEL),), None, 0),
                examined if n == BAD else None,
            )
            for n in range(3)
        ]
        outcome = Outcome(recorder, failures, connections, folder)
        thread = threading.Thread(
            target=_serve, args=(listener, kind, bad, count, context, ready, sent), daemon=True
        )
        thread.start()
        try:
            for connection in connections:
                connection.open(60)
            with gevent.Timeout(60):
                while run.progress.ready < 3:
                    gevent.sleep(0.001)
            ready.set()
            with gevent.Timeout(60):
                while not sent.is_set():
                    gevent.sleep(0.002)
                # Arrivals are known only after a flush, and each flush writes a file, so flush only now.
                recorder.flush()
                while min(taken[0], taken[2]) < count:
                    gevent.sleep(0.002)
                    recorder.flush()
            # Wait until bad data that is still in a socket has been processed too.
            gevent.sleep(0.01)
        except gevent.Timeout:
            # The caller's assertions then fail, because rows are missing from the outcome.
            pass
        outcome.ended = [n for n, connection in enumerate(connections) if connection.ended.is_set()]
        for connection in connections:
            connection.abort()
        recorder.flush()
        recorder._spool.close()
        listener.close()
        thread.join(60)
    return outcome


def _serve(
    listener: socket.socket,
    kind: Kind,
    bad: Callable[[int], bytes],
    count: int,
    context: ssl.SSLContext | None,
    ready: threading.Event,
    sent: threading.Event,
) -> None:
    peers = []
    for number in range(3):
        accepted, _ = listener.accept()
        accepted.settimeout(60)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peers.append(Peer(accepted, context))
        kind.greet(peers[number], number)
    ready.wait(60)
    for k in range(count):
        time.sleep(0.0003)
        for number, peer in enumerate(peers):
            data = bad(k) if number == BAD else kind.delivery(number, k)
            with contextlib.suppress(OSError):
                peer.send(data)
    sent.set()
    for peer in peers:
        with contextlib.suppress(OSError):
            while peer.socket.recv(65536):
                pass
        peer.socket.close()
