"""Test a master's ZeroMQ port with real sockets: who may connect, who sent a message, and attacks by strangers."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import msgpack
import msgspec
import psutil
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen.run import connections, join
from loadgen.run.connections import Connections
from loadgen.run.wire import FROM_WORKER_BYTES, Gate, MasterSocket, WorkerSocket

KEYS = join.make()
OTHERS = join.make()


def anything(kind: str, raw: msgspec.Raw) -> Any:
    """Decode any value, as Locust does."""
    if kind == "unknown":
        raise ValueError("no master takes this")
    return msgspec.msgpack.decode(raw)


class Port:
    """A master's socket on the loopback, and the messages that it received."""

    def __init__(self, key: join.MasterKey | None) -> None:
        self.got: list[tuple[str, Any]] = []
        self.faults: list[tuple[str, str, str]] = []
        self.connections = Connections()
        self.socket = MasterSocket(
            "127.0.0.1", 0, key, anything, lambda *told: self.faults.append(told), self.connections
        )
        self.clients: list[Any] = []
        self._listener = gevent.spawn(self._listen)

    def _listen(self) -> None:
        while True:
            self.got.append(self.socket.recv_from_client())

    @property
    def listening(self) -> bool:
        return not self._listener.dead

    def client(self, name: bytes, key: join.WorkerKey | None) -> Any:
        """Return a plain ZeroMQ client without the harness's own limits."""
        client: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        client.linger = 0
        client.setsockopt(zmq.IDENTITY, name)
        if key is not None:
            client.curve_serverkey, client.curve_secretkey = key.master_public, key.secret
            client.curve_publickey = key.public
        client.connect(f"tcp://127.0.0.1:{self.socket.port}")
        self.clients.append(client)
        return client

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.socket.port), 5)

    def close(self) -> None:
        self._listener.kill()
        for client in self.clients:
            client.close()
        self.socket.close(linger=0)


def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        gevent.sleep(0.01)


@pytest.fixture
def port() -> Iterator[Port]:
    made = Port(None)
    yield made
    made.close()


@pytest.fixture
def locked() -> Iterator[Port]:
    made = Port(KEYS.master)
    yield made
    made.close()


def packed(kind: str, data: Any, node: str | None = None) -> bytes:
    return bytes(msgpack.dumps((kind, data, node)))


def test_a_message_is_of_the_connection_that_brought_it_whatever_it_says(port: Port) -> None:
    port.client(b"one", None).send(packed("heartbeat", {"a": 1}, "two"))
    until(lambda: port.got)
    ((sender, message),) = port.got
    assert (sender, message.node_id, message.type, message.data) == ("one", "one", "heartbeat", {"a": 1})
    assert message.address == "127.0.0.1"


NASTY = (
    b"",
    b"\xc1",
    b"\x91" * 100_000 + b"\x01",
    b"\x93\xa5stats" + b"\x91" * 100_000 + b"\x01" + b"\xa1x",
    b"\x93\xa5stats" + b"\x81\xa1a" * 50_000 + b"\x01" + b"\xa1x",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xffx",
    packed("stats", {})[:-1],
    packed("stats", {}) + b"\x01",
    bytes(msgpack.dumps(("stats",))),
    bytes(msgpack.dumps({"type": "stats"})),
    bytes(msgpack.dumps((1, 2, 3))),
    packed("k" * 65, None),
    packed("stats", None, "n" * 301),
    b"\x93\xa2\xff\xff\xc0\xc0",
    packed("unknown", None),
)


def test_nothing_that_a_client_sends_ends_the_listener_and_each_is_named(port: Port) -> None:
    client = port.client(b"bad", None)
    for frame in NASTY:
        client.send(frame)
    client.send_multipart([packed("a", 1), b"more"])
    client.send(packed("good", 1))
    until(lambda: port.got)
    assert [message.type for _, message in port.got] == ["good"]
    assert len(port.faults) == len(NASTY) + 1
    assert {sender for sender, _, _ in port.faults} == {"bad"}
    assert ("bad", "unknown", "no master takes this") in port.faults


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.binary(max_size=200), max_size=20))
def test_any_bytes_leave_the_listener_as_it_is(port: Port, frames: list[bytes]) -> None:
    client = port.client(os.urandom(4).hex().encode(), None)
    port.got.clear()
    for frame in frames:
        client.send(frame)
    client.send(packed("good", 1))
    until(lambda: any(message.type == "good" for _, message in port.got))
    assert port.listening
    client.close()


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"n" * 201])
def test_an_id_that_is_no_workers_name_is_not_taken(port: Port, name: bytes) -> None:
    port.client(name, None).send(packed("good", 1))
    until(lambda: port.faults)
    assert port.got == []
    assert "not a worker's name" in port.faults[0][2]


def greeted(port: Port, name: bytes) -> socket.socket:
    """Return a connection that has sent the greeting of a ZeroMQ client without a key (ZMTP 3.0, RFC 23)."""
    stranger = port.tcp()
    stranger.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    ready = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER"
    ready += b"\x08Identity" + struct.pack(">I", len(name)) + name
    stranger.sendall(b"\x04" + bytes([len(ready)]) + ready)
    stranger.settimeout(0.01)
    return stranger


def is_closed(stranger: socket.socket) -> bool:
    try:
        return not stranger.recv(4096)
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_frame_that_is_too_large_costs_its_connection_and_no_memory(port: Port) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with greeted(port, b"giant") as stranger:
        # The frame's header announces 4 GB.
        stranger.sendall(b"\x02" + struct.pack(">Q", 4 << 30) + bytes(100_000))
        until(lambda: is_closed(stranger))
    assert process.memory_info().rss - before < 20 << 20
    # A message of the greatest allowed size is accepted.
    port.client(b"good", None).send(packed("blob", bytes(FROM_WORKER_BYTES - 100)))
    until(lambda: port.got)


def test_a_message_of_endless_parts_is_ended_and_its_memory_given_back(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_UNREAD", 30 << 20)
    steady = port.client(b"steady", None)
    with greeted(port, b"endless") as stranger:
        stranger.settimeout(5)
        part = b"\x03" + struct.pack(">Q", 1 << 20) + bytes(1 << 20)
        sent = 0
        try:
            while sent < 500:
                stranger.sendall(part)
                sent += 1
                gevent.sleep(0.002)
        except OSError:
            pass
        assert 30 <= sent < 500
    until(lambda: port.connections.hoards)
    assert port.connections.hoards == {"127.0.0.1": 1}
    # Another client from the same address is not affected. It has sent as much, but in messages that were read.
    for _ in range(50):
        steady.send(packed("blob", bytes(1 << 20)))
        gevent.sleep(0.002)
    until(lambda: len(port.got) == 50)
    gevent.sleep(0.2)
    steady.send(packed("blob", b""))
    until(lambda: len(port.got) == 51)
    assert sum(port.connections.hoards.values()) == 1


def test_with_a_key_only_who_has_it_gets_in_and_all_others_are_counted_with_their_address(
    locked: Port,
) -> None:
    wrong_worker = join.WorkerKey(KEYS.worker.master_public, OTHERS.worker.secret)
    wrong_master = join.WorkerKey(OTHERS.worker.master_public, KEYS.worker.secret)
    for name, key in ((b"none", None), (b"worker", wrong_worker), (b"master", wrong_master)):
        seen = locked.connections.strangers.total()
        client = locked.client(name, key)
        client.send(packed("hello", 1))
        until(lambda: locked.connections.strangers.total() > seen)  # noqa: B023
        client.close()
    seen = locked.connections.strangers.total()
    with locked.tcp() as noise:
        noise.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + os.urandom(5_000))
    until(lambda: locked.connections.strangers.total() > seen)
    locked.client(b"friend", KEYS.worker).send(packed("hello", 2))
    until(lambda: locked.got)
    assert [(sender, message.data) for sender, message in locked.got] == [("friend", 2)]
    assert locked.faults == []
    assert set(locked.connections.strangers) <= {"127.0.0.1", "an unknown address"}


def test_what_is_sent_with_a_key_cannot_be_read_on_the_way(locked: Port) -> None:
    """A relay between worker and master stores the data that it forwards, and later sends it again."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard = bytearray()

    def relay() -> None:
        near, _ = listener.accept()
        far = locked.tcp()
        for one in (near, far):
            one.setblocking(False)
        while True:
            for source, sink in ((near, far), (far, near)):
                try:
                    data = source.recv(65_536)
                except BlockingIOError:
                    continue
                except OSError:
                    return
                if source is near:
                    heard.extend(data)
                sink.sendall(data)
            gevent.sleep(0.001)

    relaying = gevent.spawn(relay)
    client: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    client.linger = 0
    client.setsockopt(zmq.IDENTITY, b"friend")
    client.curve_serverkey, client.curve_secretkey = KEYS.worker.master_public, KEYS.worker.secret
    client.curve_publickey = KEYS.worker.public
    client.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
    listener.setblocking(True)
    client.send(packed("hello", "not for others"))
    until(lambda: locked.got)
    relaying.kill()
    client.close()
    assert b"not for others" not in heard
    assert KEYS.worker.secret not in heard
    # Replaying the recorded bytes makes no connection, because the master's part of the handshake is different each
    # time.
    with locked.tcp() as replay:
        replay.sendall(bytes(heard))
        gevent.sleep(0.3)
    until(lambda: locked.connections.strangers.total() >= 1)
    assert len(locked.got) == 1
    listener.close()


def test_a_second_connection_does_not_take_a_workers_name(port: Port) -> None:
    first = port.client(b"one", None)
    first.send(packed("hello", "first"))
    until(lambda: port.got)
    port.client(b"one", None).send(packed("hello", "second"))
    gevent.sleep(0.3)
    first.send(packed("hello", "again"))
    until(lambda: len(port.got) == 2)
    assert [message.data for _, message in port.got] == ["first", "again"]


def worker(port: Port, key: join.WorkerKey | None, gate: Gate, faults: list[Any]) -> WorkerSocket:
    return WorkerSocket(
        *("127.0.0.1", port.socket.port, "w", key, anything, lambda *told: faults.append(told), gate),
        lambda kind, data: data,
    )


@pytest.mark.parametrize(
    ("key", "refused"),
    [
        (None, False),
        (join.WorkerKey(KEYS.worker.master_public, OTHERS.worker.secret), True),
        (join.WorkerKey(OTHERS.worker.master_public, KEYS.worker.secret), False),
    ],
)
def test_a_worker_learns_that_it_will_never_be_let_in(
    locked: Port, key: join.WorkerKey | None, refused: bool
) -> None:
    gate, faults = Gate(), list[Any]()
    knocking = worker(locked, key, gate, faults)
    until(lambda: gate.shut)
    assert not gate.open
    assert gate.refused == refused
    knocking.close(linger=0)


def test_a_worker_with_a_key_does_not_talk_to_a_master_without(port: Port) -> None:
    gate = Gate()
    knocking = worker(port, KEYS.worker, gate, [])
    until(lambda: gate.shut)
    assert not gate.open
    knocking.close(linger=0)


def test_a_worker_does_not_send_what_would_cost_its_connection(locked: Port) -> None:
    from locust.rpc.protocol import Message

    gate, faults = Gate(), list[Any]()
    sending = worker(locked, KEYS.worker, gate, faults)
    for data in (bytes(FROM_WORKER_BYTES), bytes(FROM_WORKER_BYTES), b"small"):
        sending.send(Message("blob", data, "w"))  # type: ignore[no-untyped-call]  # Locust's has no types
    until(lambda: locked.got)
    assert [message.data for _, message in locked.got] == [b"small"]
    assert len(faults) == 1
    assert "which no master takes" in faults[0][2]
    # The worker also checks what the master sends: a message that it cannot accept counts as a fault and is dropped.
    locked.socket.socket.send_multipart([b"w", b"\x91" * 5_000])
    locked.socket.socket.send_multipart([b"w", packed("hello", 3)])
    with gevent.Timeout(60):
        assert sending.recv().data == 3
    assert faults[1][0] == "the master"
    sending.close(linger=0)


def test_a_master_that_has_no_time_is_not_taken_for_one_with_another_key() -> None:
    now = [0.0]
    gate = Gate(lambda: now[0])
    for _ in range(20):
        gate.see(zmq.EVENT_CONNECTED, 1)
        now[0] += 10.0
        gate.see(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, 11)
        gate.see(zmq.EVENT_DISCONNECTED, 1)
    assert not gate.shut
    for _ in range(Gate.PATIENCE):
        gate.see(zmq.EVENT_CONNECTED, 1)
        now[0] += 0.1
        gate.see(zmq.EVENT_DISCONNECTED, 1)
    assert gate.shut
    gate.see(zmq.EVENT_HANDSHAKE_SUCCEEDED, 0)
    assert not gate.shut
