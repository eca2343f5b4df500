"""Test the fan-out: whole frames in order, one write for each subscriber, no waiting for slow ones."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from loadgen.protocol.appsync import messages
from loadgen.server.frames import text_frame
from loadgen.server.hub import Counters, Hub, Subscription

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

    def write_at_once(self, data: bytes) -> None:
        self.write(data)

    def disconnect(self, code: int) -> None:
        raise AssertionError("no fault was asked for")


def serialised(operation_id: str, event: str) -> bytes:
    """Return the frame that the websockets library makes."""
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
