"""The sockets between master and workers: encrypted if there is a key, and robust against hostile peers.

Locust's own sockets (`locust.rpc.zmqrpc`) do not encrypt or limit the size of messages, and a frame that msgpack cannot
read ends the greenlet that listens. These sockets replace them, with the same methods. With a key they use ZeroMQ's
CURVE (ZeroMQ RFC 26): the master admits only peers that prove that they have the workers' secret key (by ZAP, ZeroMQ
RFC 27), and a worker talks only to the master whose public key it has.

A message's sender is the routing id of its connection, and only one connection at a time has that id. The field in the
message that names a worker is ignored.
"""

import hmac
import ipaddress
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Final

import gevent
import msgspec
import zmq.green as zmq
from locust.exception import RPCError
from locust.rpc.protocol import Message
from locust.rpc.zmqrpc import BaseSocket
from msgspec import Meta
from zmq import Context as PlainContext
from zmq.error import ZMQError
from zmq.utils import z85

from loadgen.run.connections import LOOK_MS, Connections
from loadgen.run.join import MasterKey, WorkerKey
from loadgen.run.threads import start_native_thread

#: Maximum frame sizes. libzmq drops a connection that announces a larger frame before it allocates memory for it.
FROM_WORKER_BYTES: Final = 2 << 20
FROM_MASTER_BYTES: Final = 64 << 20
#: Maximum number of a worker's messages in the receive queue. While the queue is full, ZeroMQ pauses the connection.
_WAITING: Final = 64
#: Time limit for a peer to prove that it has the key.
_HANDSHAKE_MS: Final = 10_000
#: Longest interval between reconnects: a rejected peer slows down from ten attempts a second to one.
_RECONNECT_MOST_MS: Final = 1_000
#: Number of messages in a row after which the reader yields to other greenlets.
_IN_A_ROW: Final = 64
_MOST_ID: Final = 200
_ZAP_ADDRESS: Final = "inproc://zeromq.zap.01"
_ZAP_DOMAIN: Final = b"loadgen"
_ELSEWHERE: Final = "elsewhere"

#: A message as Locust packs it: (type, data, node id). The data is decoded only after the type is known.
_Envelope = tuple[
    Annotated[str, Meta(max_length=64)], msgspec.Raw, Annotated[str, Meta(max_length=300)] | None
]
_envelope = msgspec.msgpack.Decoder(_Envelope)
#: Decodes the data of a message of the given type; raises ValueError if the type is not allowed.
Decode = Callable[[str, msgspec.Raw], Any]
#: Reports an invalid message; takes the sender's id, the message's type and the reason.
Complain = Callable[[str, str, str], None]


class _Told(Exception):  # noqa: N818  not an error of ours
    """A frame is rejected; the arguments are the message's type and the reason."""


def _message(kind: str, data: Any, node_id: str | None) -> Any:
    """Return a Locust message. This function hides from mypy that Locust's class is untyped."""
    return Message(kind, data, node_id)  # type: ignore[no-untyped-call]


def _taken(frame: Any, decode: Decode) -> Any:
    """Return the message in a frame; raises _Told if the frame is rejected."""
    kind = "message"
    try:
        kind, raw, _ = _envelope.decode(frame)
        return _message(kind, decode(kind, raw), None)
    except msgspec.DecodeError as error:
        raise _Told(kind, str(error)) from None
    except (ValueError, TypeError, OverflowError, UnicodeDecodeError) as error:
        raise _Told(kind, str(error)) from None
    except RecursionError:
        raise _Told(kind, "it is nested too deeply") from None


class MasterSocket(BaseSocket):
    """The master's socket: :meth:`recv_from_client` returns only complete, valid messages."""

    def __init__(
        self,
        host: str,
        port: int,
        key: MasterKey | None,
        decode: Decode,
        report_error: Complain,
        connections: Connections,
    ) -> None:
        """Bind the socket to ``host`` and ``port``; port 0 chooses a free one.

        Raises:
            RPCError: the port is taken or the address cannot be used.
        """
        super().__init__(zmq.ROUTER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
        self._decode, self._complain, self._connections = decode, report_error, connections
        self._in_a_row = 0
        self._zap: Any = None
        _bound(self.socket, FROM_WORKER_BYTES, _WAITING)
        # A second connection with the same id is ignored: it must not take over the first one's identity.
        self.socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        if key is not None:
            self._zap = self.socket.context.socket(zmq.REP)
            self._zap.bind(_ZAP_ADDRESS)
            gevent.spawn(_answer_zap, self._zap, key.workers_public)
            self.socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        _watch(self.socket, connections.see, connections.look)
        try:
            if port == 0:
                self.port = self.socket.bind_to_random_port(f"tcp://{host}")
            else:
                self.socket.bind(f"tcp://{host}:{port}")
                self.port = port
        except ZMQError as error:
            self.close(linger=0)
            raise RPCError(os.strerror(error.errno) if error.errno else str(error)) from None

    def recv_from_client(self) -> tuple[str, Any]:
        """Wait for the next valid message and return (routing id, message); report and skip invalid ones.

        The message's `address` is the peer's IP address, or None if unknown.

        Raises:
            RPCError: the socket is broken.
        """
        while True:
            self._in_a_row += 1
            if self._in_a_row >= _IN_A_ROW:
                self._in_a_row = 0
                gevent.sleep(0)
            try:
                frames = self.socket.recv_multipart(copy=False)
            except ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            self._connections.took(_descriptor(frames[-1]), sum(map(len, frames)))
            sender = _sender(frames[0].bytes)
            if sender is None:
                self._complain(_ELSEWHERE, "message", "its sender's id is not a worker's name")
                continue
            if len(frames) != 2:
                self._complain(sender, "message", f"it has {len(frames) - 1} parts instead of one")
                continue
            try:
                message = _taken(frames[1].buffer, self._decode)
            except _Told as told:
                self._complain(sender, *told.args)
                continue
            message.node_id = sender
            message.address = _address(frames[1])
            return sender, message

    def close(self, linger: int | None = None) -> None:
        """Close the socket, its monitor and its ZAP handler."""
        self.socket.disable_monitor()
        super().close(linger=linger)  # type: ignore[no-untyped-call]
        if self._zap is not None:
            self._zap.close(linger=0)


class WorkerSocket(BaseSocket):
    """A worker's socket; ``gate`` tracks whether the master lets it in."""

    def __init__(
        self,
        host: str,
        port: int,
        identity: str,
        key: WorkerKey | None,
        decode: Decode,
        report_error: Complain,
        gate: "Gate",
        cut: Callable[[str, Any], Any],
    ) -> None:
        super().__init__(zmq.DEALER, self.ipv4_only(host, port))  # type: ignore[no-untyped-call]
        self._decode, self._complain, self._cut = decode, report_error, cut
        self._shed: set[str] = set()
        _bound(self.socket, FROM_MASTER_BYTES, None)
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, _RECONNECT_MOST_MS)
        if key is not None:
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, key.master_public)
            self.socket.setsockopt(zmq.CURVE_PUBLICKEY, key.public)
            self.socket.setsockopt(zmq.CURVE_SECRETKEY, key.secret)
        _watch(self.socket, gate.see)
        self.socket.connect(f"tcp://{host}:{port}")

    def send(self, msg: Message) -> None:
        """Send a message. One that exceeds the master's frame limit would end the connection: drop and report it."""
        frame: bytes = _message(msg.type, self._cut(msg.type, msg.data), msg.node_id).serialize()
        if len(frame) > FROM_WORKER_BYTES:
            if msg.type not in self._shed:
                self._shed.add(msg.type)
                self._complain("this worker", msg.type, f"it has {len(frame):,} bytes, which no master takes")
            return
        super().send(_Packed(frame))

    def recv(self) -> Any:
        """Wait for and return the next valid message; report and skip invalid ones.

        Raises:
            RPCError: the socket is broken.
        """
        while True:
            try:
                frames = self.socket.recv_multipart(copy=False)
            except ZMQError as error:
                raise RPCError("ZMQ network broken") from error
            if len(frames) != 1:
                self._complain("the master", "message", f"it has {len(frames)} parts instead of one")
                continue
            try:
                return _taken(frames[0].buffer, self._decode)
            except _Told as told:
                self._complain("the master", *told.args)

    def close(self, linger: int | None = None) -> None:
        """Close the socket and its monitor."""
        self.socket.disable_monitor()
        super().close(linger=linger)  # type: ignore[no-untyped-call]


class Gate:
    """Tracks by the socket's handshake events whether the master has accepted this worker.

    `open` is True after a successful handshake. `shut` is True if the key was rejected, or if `PATIENCE` handshakes
    failed and none succeeded.
    """

    #: After this many failed handshakes in a row, the cause cannot be that the master is just starting or ending.
    PATIENCE: Final = 3
    #: A disconnect within this time counts as a failed handshake. A master ends a connection with a wrong key at once.
    #: If the master were only busy, the connection would end later.
    AT_ONCE_S: Final = 5.0

    def __init__(self, steady_s: Callable[[], float] = time.monotonic) -> None:
        self._steady_s = steady_s
        self._connected_s = 0.0
        self.open = False
        #: True if the master has checked this worker's key and rejected it.
        self.refused = False
        self.failed = 0

    @property
    def shut(self) -> bool:
        """True if it is certain that the master will never accept this worker."""
        return not self.open and (self.refused or self.failed >= self.PATIENCE)

    def see(self, event: int, _value: int) -> None:
        """Handle an event of the socket's monitor."""
        if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self.open = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refused = True
        elif event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
            # Either the master or this worker has no key, and libzmq does not reconnect after this failure: give up at
            # once.
            self.failed = self.PATIENCE
        elif event == zmq.EVENT_CONNECTED:
            self._connected_s = self._steady_s()
        elif event == zmq.EVENT_DISCONNECTED and self._steady_s() - self._connected_s < self.AT_ONCE_S:
            # For some failed handshakes ZeroMQ reports only the disconnect.
            self.failed += 1


class _Packed:
    """A message that is already packed; Locust's `send` calls its `serialize`."""

    def __init__(self, frame: bytes) -> None:
        self._frame = frame

    def serialize(self) -> bytes:
        return self._frame


def _bound(zmq_socket: Any, frame_bytes: int, waiting: int | None) -> None:
    zmq_socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes)
    zmq_socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    if waiting is not None:
        zmq_socket.setsockopt(zmq.RCVHWM, waiting)


def _answer_zap(zap: Any, workers_public: bytes) -> None:
    """Answer libzmq's requests to authenticate clients (ZAP, ZeroMQ RFC 27) until the socket is closed."""
    while True:
        try:
            version, request, _domain, _address, _identity, mechanism, *credentials = zap.recv_multipart()
            known = (
                mechanism == b"CURVE"
                and len(credentials) == 1
                and hmac.compare_digest(z85.encode(credentials[0]), workers_public)
            )
            status, text = (b"200", b"OK") if known else (b"400", b"unknown key")
            zap.send_multipart([version, request, status, text, b"worker" if known else b"", b""])
        except ZMQError:
            return


def _watch(zmq_socket: Any, see: Callable[[int, int], None], look: Callable[[], None] | None = None) -> None:
    """Watch a ZeroMQ socket's connections: call ``see`` with each event, and ``look`` after `LOOK_MS` without one.

    Both functions are called in a native thread. A greenlet would be too slow: a rejected connection's file descriptor,
    from which the peer's address is read, is gone within a millisecond.
    """
    # Import this only here: it loads asyncio, which a run in one process does not need.
    from zmq.utils.monitor import parse_monitor_message

    address = f"inproc://monitor-{os.getpid()}-{id(zmq_socket)}"
    zmq_socket.monitor(address, zmq.EVENT_ALL)
    events: Any = PlainContext.shadow(zmq_socket.context.underlying).socket(zmq.PAIR)
    events.connect(address)

    def watch() -> None:
        try:
            while True:
                if look is not None and not events.poll(LOOK_MS):
                    look()
                    continue
                told = parse_monitor_message(events.recv_multipart())
                if told["event"] == zmq.EVENT_MONITOR_STOPPED:
                    break
                see(int(told["event"]), int(told["value"]))
        except ZMQError:
            pass
        finally:
            events.close(linger=0)

    start_native_thread(watch)


def _sender(routing_id: bytes) -> str | None:
    """Return a routing id as text, or None if it cannot be a worker's."""
    try:
        text = routing_id.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() and 0 < len(text) <= _MOST_ID else None


def _descriptor(frame: Any) -> int:
    """Return the file descriptor of the connection that brought a frame, or -1 if ZeroMQ does not know it."""
    try:
        return int(frame.get(zmq.SRCFD))
    except ZMQError:
        return -1


def _address(frame: Any) -> str | None:
    """Return the peer's IP address of the connection that brought a frame, or None if ZeroMQ does not know it."""
    try:
        return _parsed(frame.get("Peer-Address"))
    except ZMQError:
        return None


@lru_cache(maxsize=1_024)
def _parsed(text: str) -> str | None:
    """Return an IP address in its usual form, or None if it is invalid. An IPv4-mapped IPv6 address becomes IPv4.

    The result is cached, since each message needs it.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


__all__ = ["FROM_MASTER_BYTES", "FROM_WORKER_BYTES", "Gate", "MasterSocket", "WorkerSocket"]
