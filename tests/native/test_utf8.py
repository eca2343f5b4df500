"""Test that no fast path takes a text frame that is not UTF-8 (RFC 6455, 8.1)."""

import pytest

from loadgen import native
from tests.native.fuzz import rows_in
from tests.websocket.cases import INVALID_TEXTS, TEXT, VALID, Frame

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

TIMES = (1_790_000_000_000_000_001, 1_790_000_000_000_000_777, 0, 0)
STAMPED = b'{\\"_lg\\":[1,2,3,4,5],\\"text\\":\\"%b\\"}'
#: Places in a delivery of AppSync Events with text that the fast path does not interpret.
PLACES = {
    "in the event": b'{"type":"data","id":"s1","event":"' + STAMPED + b'"}',
    "beside the event": b'{"type":"data","id":"s1","event":"' + STAMPED % b"" + b'","more":"%b"}',
    "in a name": b'{"type":"data","id":"s1","event":"' + STAMPED % b"" + b'","%b":1}',
}


def deliveries() -> tuple[native.DeliveryFastPath, native.Rows]:
    rows = native.Rows(9, 16)
    lane = native.DeliveryFastPath(rows)
    lane.add("s1", 7)
    return lane, rows


def rest(first: int) -> tuple[native.TemplateFastPath, native.Rows]:
    rows = native.Rows(9, 16)
    template = native.Template("lines", (b"MSG ", "size", b" ", "rest", b"\r\n", "event", b"\r\n"))
    return native.TemplateFastPath(rows, ("_lg",), template, first, 7), rows


def texts(kinds: dict[str, bytes]) -> list[bytes]:
    # Leave out texts with control characters, quotes or backslashes: the fast path and Python both end a string there,
    # or refuse it.
    return [text for text in kinds.values() if not any(byte < 0x20 or byte in b'"\\' for byte in text)]


@pytest.mark.parametrize("place", PLACES)
def test_deliveries_of_appsync_are_taken_only_if_they_are_utf8(place: str) -> None:
    lane, rows = deliveries()
    for text in texts(VALID):
        frame = Frame(TEXT, PLACES[place] % text).bytes(masked=False)
        assert lane.take_frames(frame, *TIMES) == len(frame), text
    assert len(rows_in(rows)) == len(texts(VALID))
    for text in texts(INVALID_TEXTS):
        assert lane.take_frames(Frame(TEXT, PLACES[place] % text).bytes(masked=False), *TIMES) == 0, text
    assert rows_in(rows) == []


def test_what_a_protocol_file_leaves_unread_is_checked_in_text_frames_only() -> None:
    line = b'MSG 19 %b\r\n{"_lg":[1,2,3,4,5]}\r\n'
    for first in (native.TEXT_FRAMES, native.BINARY_FRAMES):
        lane, rows = rest(first)
        for text in texts(VALID):
            frame = bytes((first,)) + Frame(TEXT, line % text).bytes(masked=False)[1:]
            assert lane.take_frames(frame, *TIMES) == len(frame), text
        assert len(rows_in(rows)) == len(texts(VALID))
        for text in texts(INVALID_TEXTS):
            frame = bytes((first,)) + Frame(TEXT, line % text).bytes(masked=False)[1:]
            taken = lane.take_frames(frame, *TIMES)
            assert taken == (0 if first == native.TEXT_FRAMES else len(frame)), text
