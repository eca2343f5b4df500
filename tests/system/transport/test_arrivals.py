"""Test that every recorded arrival equals the time in a packet capture, or has it within its interval."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import gevent
import numpy as np
import numpy.typing as npt
import pytest
import trustme

from loadgen import native
from loadgen.measure.arrival import end_of
from loadgen.measure.columns import COLUMNS, DeliveryBuffer, NativeDeliveryBuffer
from loadgen.measure.stamp import decode_event
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.transport import byte_counts, kernel_time
from loadgen.transport import poller as pollers
from loadgen.transport.address import Address
from loadgen.transport.byte_stream import ByteStream
from loadgen.transport.slow_reading import SlowReading
from loadgen.transport.stream import SocketStream
from loadgen.transport.websocket import WebSocket
from tests.transport.capture import Capture, may_capture
from tests.transport.sending import Host, Order, Sender, burn

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not may_capture(), reason="it may not capture packets (CAP_NET_RAW)"),
]

CONNECTIONS = 8
#: Tolerance in ns, for two readings of the same clock one after the other.
SAME_NS = 1_000
_AT = {name: place for place, name in enumerate(COLUMNS)}
Ints = npt.NDArray[np.int64]


class Handler:
    """A `SessionHandler` that records deliveries as a `ClientConnection` does."""

    def __init__(self, buffer: DeliveryBuffer | NativeDeliveryBuffer, number: int) -> None:
        self._buffer, self._number = buffer, number

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        self._buffer.add(self._number, arrival_ns, read_ns, decode_event(event).stamp)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Lines:
    """Splits a byte stream into lines, as a protocol whose messages are lines would."""

    def __init__(self, handler: Handler) -> None:
        self._handler, self._rest = handler, b""

    def receive(self, data: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            is_end = line is lines[-1] and not self._rest
            found = messages.decode_data_message(line)
            at_ns = end_of(arrival_ns) if is_end else arrival_ns
            self._handler.on_event(found.id, found.event, at_ns, read_ns)


@dataclass(frozen=True)
class Seen:
    """The recorded arrival of each delivery, its uncertainty, and bounds on the true arrival by the packet capture."""

    arrival_ns: Ints
    uncertain_ns: Ints
    before_ns: Ints
    after_ns: Ints
    #: True if a read certainly contained this delivery alone: it arrived after the previous delivery was read, and it
    #: was read before the next one arrived.
    alone: npt.NDArray[np.bool_]

    @property
    def exact(self) -> int:
        """Number of arrivals that are exact."""
        return int(np.count_nonzero(self.uncertain_ns == 0))

    def outside_ns(self) -> Ints:
        """Return the distance (ns) of each recorded interval from the packet capture's; negative if they overlap."""
        too_late = self.arrival_ns - self.uncertain_ns - self.after_ns
        outside_ns: Ints = np.maximum(too_late, self.before_ns - self.arrival_ns)
        return outside_ns

    def said(self) -> str:
        """Return a line for the test's output: count and precision of the recorded arrival times."""
        shifted_us = (self.arrival_ns - self.after_ns).max() / 1e3
        wide_us = np.sort(self.uncertain_ns[self.uncertain_ns > 0] / 1e3)
        widths = ""
        if len(wide_us):
            widths = f", intervals of {wide_us[len(wide_us) // 2]:.0f} µs (median) to {wide_us[-1]:.0f} µs"
        return (
            f"{len(self.arrival_ns)} deliveries, {self.exact} exact{widths};"
            f" stamps later than the capture by up to {shifted_us:.1f} µs;"
            f" outside by {self.outside_ns().max() / 1e3:.1f} µs at most"
        )


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("authority")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
        yield folder / "server.pem"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


def receive(
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    order: Order,
    certificate: Path | None = None,
    stall_s: float = 0.0,
    busy: int = 0,
    bytes_per_s: float | None = None,
) -> Seen:
    """Receive the deliveries of ``order`` in native code or Python (``path``), and capture their packets."""
    monkeypatch.setattr(native, "available", path == "native")
    pollers._pollers.clear()
    buffer = NativeDeliveryBuffer() if path == "native" else DeliveryBuffer()
    service = AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("k"))
    sender = Sender(host, CONNECTIONS, certificate, order.lines, order.cut_answer)
    scheme = {(False, False): "ws", (False, True): "wss", (True, False): "tcp"}[
        order.lines, certificate is not None
    ]
    address = Address(f"{scheme}://127.0.0.1:{sender.port}/")
    connections: list[SocketStream] = []
    ports, handlers = [], []
    burners = [burn(30.0) for _ in range(busy)]
    with Capture(sender.port) as capture:
        for number in range(CONNECTIONS):
            handlers.append(handler := Handler(buffer, number))
            session = service.session(handler)
            connection: SocketStream
            slow = None if bytes_per_s is None else SlowReading(bytes_per_s)
            if order.lines:
                connection = ByteStream(
                    address, on_bytes=Lines(handler).receive, on_closed=lambda *_: None, slow=slow
                )
            else:
                connection = WebSocket(
                    address,
                    subprotocols=(),
                    headers={},
                    on_text=session.receive,
                    on_closed=lambda *_: None,
                    slow=slow,
                )
            opened = gevent.spawn(connection.open, 10)
            ports.append(gevent.get_hub().threadpool.apply(sender.accepted))
            opened.get()
            connections.append(connection)
            if isinstance(buffer, NativeDeliveryBuffer):
                connection.use_fast_path(
                    session.fast_path(buffer.rows, {"s1": number}, NativePlace(("_lg",), False))
                )
        sender.begin(order)
        while (ends := sender.done()) is None:
            if stall_s:
                time.sleep(stall_s)
            gevent.sleep(0.001)
        for connection in connections:
            connection.read_at_full_speed()
        wanted, rows = order.frames * CONNECTIONS, np.empty((0, len(COLUMNS)), dtype=np.int64)
        with gevent.Timeout(20):
            while len(rows) < wanted:
                gevent.sleep(0.01)
                rows = np.concatenate([rows, *(piece.copy() for piece in buffer.take())])
        for connection in connections:
            connection.abort()
        sender.stop()
    for burner in burners:
        burner.kill()
        burner.wait()
    pollers._pollers.clear()
    found = []
    for number, port in enumerate(ports):
        mine = rows[rows[:, 0] == number]
        assert mine[:, _AT["sequence"]].tolist() == list(range(order.frames))
        truth = capture.arrivals_ns(port, np.array(ends[port], dtype=np.int64))
        in_time = mine[:-1, _AT["read_ns"]] < truth[0][1:]
        alone = np.append(True, in_time) & np.append(in_time, True)
        found.append(np.column_stack((mine[:, 1], mine[:, _AT["uncertain_ns"]], *truth, alone)))
    arrival_ns, uncertain_ns, before_ns, after_ns, alone = np.concatenate(found).T
    return Seen(arrival_ns, uncertain_ns, before_ns, after_ns, alone.astype(bool))


SINGLE = Order(300)
BURST = Order(600, batch=20)
SPLIT = Order(300, batch=5, cuts=4, pause_s=0.002)
PATHS = [
    pytest.param("native", marks=pytest.mark.skipif(not native.available, reason="not built")),
    "python",
]


def check(seen: Seen) -> None:
    """Compare each arrival with the capture, and print the figures (`pytest -s`)."""
    print(seen.said())
    assert seen.outside_ns().max() <= SAME_NS


def check_alone(seen: Seen) -> None:
    """Assert that some deliveries (nearly all, unless the machine is busy) were read alone and are exact."""
    assert seen.alone.any()
    assert (seen.uncertain_ns[seen.alone] == 0).all()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("order", [SINGLE, BURST, SPLIT])
@pytest.mark.parametrize("kind", ["plain", "tls", "lines"])
def test_the_capture_lies_in_every_interval(
    host: Host, monkeypatch: pytest.MonkeyPatch, certificate: Path, path: str, order: Order, kind: str
) -> None:
    order = replace(order, lines=kind == "lines")
    seen = receive(host, monkeypatch, path, order, certificate if kind == "tls" else None)
    check(seen)
    assert seen.exact > 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("order", [SINGLE, SPLIT])
def test_also_where_the_reader_is_slow_and_stamps_are_wrong(
    host: Host, monkeypatch: pytest.MonkeyPatch, path: str, order: Order
) -> None:
    seen = receive(host, monkeypatch, path, order, stall_s=0.005)
    check(seen)
    late_ns = seen.arrival_ns - seen.after_ns
    if path == "python":
        # Some recorded arrivals are more than a millisecond too late, so the check needs their stated uncertainty.
        assert late_ns.max() > 1_000_000
    else:
        # The native receive thread reads on while Python is slow, so most stamps are not late.
        assert np.median(late_ns) < 1_000_000


@pytest.mark.parametrize("path", PATHS)
def test_also_where_both_cores_are_busy(host: Host, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    check(receive(host, monkeypatch, path, SPLIT, busy=3))


@pytest.mark.parametrize("kind", ["plain", "tls"])
def test_also_where_a_client_reads_slowly_on_purpose(
    host: Host, monkeypatch: pytest.MonkeyPatch, certificate: Path, kind: str
) -> None:
    def seen() -> Seen:
        by = certificate if kind == "tls" else None
        found = receive(host, monkeypatch, "python", Order(60, sizes=(900,)), by, bytes_per_s=20_000.0)
        check(found)
        return found

    with_counts = seen()
    monkeypatch.setattr(byte_counts, "received_bytes", lambda _: None)
    without = seen()
    # Without the kernel's counts of bytes, stamps are late by what the client leaves unread, and the intervals are
    # as long as the time since the socket was last empty.
    assert (without.arrival_ns - without.after_ns).max() > 1_000_000
    assert np.median(with_counts.uncertain_ns) < np.median(without.uncertain_ns) / 2


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("kind", ["plain", "tls", "lines"])
def test_a_message_that_is_read_alone_is_exact(
    host: Host, monkeypatch: pytest.MonkeyPatch, certificate: Path, path: str, kind: str
) -> None:
    order = Order(25, least_pause_s=0.02, lines=kind == "lines")
    seen = receive(host, monkeypatch, path, order, certificate if kind == "tls" else None)
    check(seen)
    check_alone(seen)


@pytest.mark.parametrize("path", PATHS)
def test_without_kernel_stamps_an_arrival_is_the_read_and_uncertain(
    host: Host, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(kernel_time, "enable", lambda _: False)
    seen = receive(host, monkeypatch, path, Order(25, least_pause_s=0.02))
    check(seen)
    assert seen.exact == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cut", [False, True])
def test_an_unusual_yes_to_the_upgrade_leaves_single_messages_exact(
    host: Host, monkeypatch: pytest.MonkeyPatch, path: str, cut: bool
) -> None:
    monkeypatch.setattr("loadgen.transport.upgrade.Upgrade.accepted", lambda *_: 0)
    # The answer to the upgrade arrives in one read or in two.
    seen = receive(host, monkeypatch, path, Order(25, least_pause_s=0.02, cut_answer=cut))
    check(seen)
    check_alone(seen)
