"""Test that no publish is lost if the receive thread records answers while Python sends or takes back publishes."""

import re
import socket
import threading

import pytest

from loadgen import native
from loadgen.measure.publishes import Events
from loadgen.measure.rows import EventRow
from loadgen.payloads.stamping import plain
from loadgen.protocol.appsync import messages
from loadgen.server import frames
from tests.listening import connected
from tests.native.test_answers import unmasked
from tests.native.test_thread import Taking, add, process_until

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

PUBLISHES = 1_500
FRAME = messages.publish_frame("/default/a", {"x-api-key": "k"})
_ID = re.compile(rb'"id":"(p\d+)"')
#: The answer to each seventh publish is left to Python, and each eleventh publish has no answer.
FOR_PYTHON, SILENT = 7, 11


def serve(peer: socket.socket) -> None:
    """Answer each frame until the client closes."""
    data = b""
    while part := peer.recv(1 << 16):
        data += part
        answers = b""
        while len(data) >= 8 and len(data) >= (size := 8 + int.from_bytes(data[2:4], "big")):
            found = _ID.search(unmasked(data[:size]))
            assert found is not None
            data, number = data[size:], int(found[1][1:])
            if number % SILENT == 0:
                continue
            failed = b'[{"index":0}]' if number % FOR_PYTHON == 0 else b"[]"
            answers += frames.text_frame(
                b'{"type":"publish_success","id":"%b","failed":%b}' % (found[1], failed)
            )
        peer.sendall(answers)


class Reading(Taking):
    """Splits the data left to Python into frames, as a connection does; keeps those that the fast path refuses."""

    def __init__(self, poller: native.Poller, sock: socket.socket, fast_path: native.FastPath) -> None:
        super().__init__()
        self._poller, self._sock, self._fast_path = poller, sock, fast_path
        self.kept: list[bytes] = []

    def take(self, data: bytes, arrival_ns: int, read_ns: int, *bounds_ns: int) -> None:
        self.data += data
        while True:
            taken = self._fast_path.take_frames(self.data, arrival_ns, read_ns, *bounds_ns)
            del self.data[:taken]
            if len(self.data) < 2 or len(self.data) < (size := 2 + self.data[1]):
                break
            self.kept.append(bytes(self.data[:size]))
            del self.data[:size]
        # While a frame is incomplete, take all further bytes here, without the fast path.
        self._poller.route(self._sock.fileno(), None, None if self.data else self._fast_path)


def test_every_publish_is_settled_or_given_up_once() -> None:
    poller = native.Poller(lambda source, error: source.failed(error))
    rows = native.PublishRows()
    lane = native.PublishLane(rows, 7, 3)
    fast_path = native.DeliveryFastPath(native.Rows(9, 64))
    fast_path.answers(lane)
    bodies = [plain(100), plain(100)]
    settled: list[EventRow] = []
    left = {number for number in range(PUBLISHES) if number % FOR_PYTHON == 0 and number % SILENT}
    silent = set(range(0, PUBLISHES, SILENT))
    accepted = 0
    with connected() as (ours, peer):
        service = threading.Thread(target=serve, args=(peer,))
        service.start()
        reading = Reading(poller, ours, fast_path)
        add(poller, ours, reading)
        poller.route(ours.fileno(), None, fast_path)
        for number in range(PUBLISHES):
            sent = lane.publish(
                ours.fileno(), FRAME, number, 2 * number, "/default/a", 1, 2, bodies, "a", None, 0
            )
            while isinstance(sent, bytes) and sent:
                try:
                    sent = sent[ours.send(sent) :]
                except BlockingIOError:
                    poller.process(256)
            if number % 50 == 0:
                settled += Events(*rows.take())
                accepted += rows.take_accepted()
                poller.process(256)
        process_until(poller, lambda: len(reading.kept) == len(left) and len(lane) == len(left) + len(silent))
        ours.shutdown(socket.SHUT_WR)
        service.join()
        poller.remove(ours.fileno())
    given_up = {each[0] for each in lane.withdraw_all()}
    settled += Events(*rows.take())
    accepted += rows.take_accepted()
    assert given_up == left | silent
    assert sorted(row.sequence for row in settled) == [
        2 * number + event for number in range(PUBLISHES) if number not in given_up for event in (0, 1)
    ]
    assert accepted == len(settled)
    assert all(row.acked_ns is not None and row.sent_ns is not None for row in settled)
    assert all(row.acked_ns >= row.sent_ns for row in settled if row.acked_ns and row.sent_ns)
