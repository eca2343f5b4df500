"""The fan-out: whole frames in order, one write a subscriber, no waiting for anyone."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from loadgen.protocol.appsync import messages
from loadgen.server.frames import text_frame
from loadgen.server.hub import Counters, Hub, Subscription
from loadgen.server.process import ServerProcess

from .conftest import Client

LIMIT_BYTES = 1000


class FakeOutlet:
    def __init__(self, *, gone: bool = False, buffered: int = 0) -> None:
        self.writes: list[bytes] = []
        self.aborted = 0
        self._gone = gone
        self._buffered = buffered

    def write(self, data: bytes) -> None:
        if self._gone:
            raise RuntimeError("closed")
        self.writes.append(data)

    def buffered_bytes(self) -> int:
        return self._buffered

    def abort_slow_reader(self) -> None:
        self.aborted += 1


def serialised(operation_id: str, event: str) -> bytes:
    """Return the frame as the websockets library makes it."""
    return Frame(Opcode.TEXT, messages.data(operation_id, event)).serialize(mask=False)


@given(st.integers(min_value=0, max_value=140_000))
def test_a_text_frame_is_what_the_websockets_library_makes(length: int) -> None:
    payload = b"x" * length
    assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@given(
    st.lists(st.text(alphabet="aZ9-_+", min_size=1, max_size=128), min_size=1, max_size=6),
    st.lists(st.text(max_size=200), min_size=1, max_size=5),
)
def test_a_batch_is_one_write_of_whole_frames_in_order(ids: list[str], events: list[str]) -> None:
    counters = Counters()
    hub = Hub(LIMIT_BYTES, counters)
    outlets = [FakeOutlet() for _ in ids]
    for operation_id, outlet in zip(ids, outlets, strict=True):
        hub.add(Subscription(operation_id, "/default/a", outlet))
    hub.publish("/default/a", events)
    for operation_id, outlet in zip(ids, outlets, strict=True):
        assert outlet.writes == [b"".join(serialised(operation_id, event) for event in events)]
    assert (counters.events, counters.deliveries) == (len(events), len(events) * len(ids))


def test_a_socket_that_is_gone_stops_nobody_else() -> None:
    counters = Counters()
    hub = Hub(LIMIT_BYTES, counters)
    outlets = [FakeOutlet(), FakeOutlet(gone=True), FakeOutlet()]
    for outlet in outlets:
        hub.add(Subscription("s", "/default/*", outlet))
    hub.publish("/default/a", ["1"])
    assert [len(outlet.writes) for outlet in outlets] == [1, 0, 1]
    assert counters.deliveries == 2


def test_only_a_connection_above_the_limit_is_aborted() -> None:
    hub = Hub(LIMIT_BYTES, Counters())
    outlets = [FakeOutlet(buffered=LIMIT_BYTES), FakeOutlet(buffered=LIMIT_BYTES + 1)]
    for outlet in outlets:
        hub.add(Subscription("s", "/default/a", outlet))
    hub.publish("/default/a", ["1"])
    assert [outlet.aborted for outlet in outlets] == [0, 1]


def test_nothing_is_written_for_no_events() -> None:
    hub = Hub(LIMIT_BYTES, Counters())
    outlet = FakeOutlet()
    hub.add(Subscription("s", "/default/a", outlet))
    hub.publish("/default/a", [])
    assert outlet.writes == []


def test_a_client_that_does_not_read_is_dropped_and_stalls_nobody(client: Callable[..., Client]) -> None:
    event = json.dumps("e" * 200_000)
    with ServerProcess(["--write-buffer-limit", "65536"]) as process:
        url = urlsplit(process.announcement.ws_url)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((url.hostname, url.port))
        slow, healthy = client(process.announcement, sock=raw, max_queue=1), client(process.announcement)
        publisher = client(process.announcement)
        for one in (slow, healthy):
            one.subscribe("/default/a")
        for _ in range(10):
            assert publisher.publish("/default/a", [event] * 5)["type"] == "publish_success"
            assert [healthy.receive()["event"] for _ in range(5)] == [event] * 5
        with suppress(ConnectionClosed):
            for _ in range(51):
                slow.receive()
        assert slow.socket.close_code == 1006
        assert process.stderr_path is not None
        said = process.stderr_path.read_text()
    assert "does not read fast enough" in said
    assert said.count("\n") == 1
