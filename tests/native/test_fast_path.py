"""Test that the fast path takes only messages that the Python path takes too, and writes the same rows."""

import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.columns import COLUMNS, DeliveryBuffer, NativeDeliveryBuffer
from loadgen.measure.stamp import decode_event, encode_event
from loadgen.protocol.appsync import messages
from loadgen.server import frames

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

INT63 = st.integers(-(2**63) + 1, 2**63 - 1)
NUMBERS = st.tuples(INT63, INT63, INT63, INT63, INT63)
ARRIVAL_NS, READ_NS = 1_790_000_000_000_000_001, 1_790_000_000_000_000_777


def fast_path_of(numbers: dict[str, int]) -> tuple[native.DeliveryFastPath, NativeDeliveryBuffer]:
    buffer = NativeDeliveryBuffer(rows=16)
    fast_path = native.DeliveryFastPath(buffer.rows)
    for subscription_id, number in numbers.items():
        fast_path.add(subscription_id, number)
    return fast_path, buffer


def rows_of(buffer: NativeDeliveryBuffer | DeliveryBuffer) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty((0, len(COLUMNS)), dtype=np.int64), *buffer.take()])


def by_python(text: bytes, numbers: dict[str, int]) -> list[list[int]]:
    """Return the rows, at most one, that the Python path makes of a message."""
    buffer = DeliveryBuffer(rows=16)
    try:
        delivery = messages.decode_data_message(text)
        buffer.add(numbers[delivery.id], ARRIVAL_NS, READ_NS, decode_event(delivery.event).stamp)
    except (*messages.UNREADABLE, KeyError, struct.error):
        return []
    rows: list[list[int]] = rows_of(buffer).tolist()
    return rows


def by_fast_path(text: bytes, numbers: dict[str, int]) -> tuple[bool, list[list[int]]]:
    fast_path, buffer = fast_path_of(numbers)
    frame = frames.text_frame(text)
    taken = fast_path.take_frames(frame, ARRIVAL_NS, READ_NS)
    assert taken in (0, len(frame))
    rows: list[list[int]] = rows_of(buffer).tolist()
    return bool(taken), rows


@given(NUMBERS, st.integers(1, 2_000), st.permutations(("type", "id", "event")))
@example((1, -1, 0, 0, 0), 10, ["type", "id", "event"])
@example((7, 1, 5, 1_790_000_000_000_000_001, 2**63 - 1), 200, ["id", "type", "event"])
def test_every_event_of_ours_is_taken_in_whatever_order_its_members_are(
    stamp: tuple[int, int, int, int, int], size: int, order: list[str]
) -> None:
    members = {"type": "data", "id": "s12", "event": encode_event(*stamp, size)}
    text = json.dumps({name: members[name] for name in order}, separators=(",", ":")).encode()
    taken, rows = by_fast_path(text, {"s12": 34})
    assert taken
    assert rows == by_python(text, {"s12": 34}) == [[34, ARRIVAL_NS, READ_NS, 0, *stamp]]


def test_what_the_embedded_server_sends_is_taken() -> None:
    text = messages.data("s1", encode_event(7, 3, 2, 1, 0, 200))
    assert by_fast_path(text, {"s1": 5}) == (True, [[5, ARRIVAL_NS, READ_NS, 0, 7, 3, 2, 1, 0]])


def nearly(stamp: tuple[int, int, int, int, int], size: int) -> bytearray:
    return bytearray(messages.data("s1", encode_event(*stamp, size)))


NEARLY = st.builds(
    nearly,
    NUMBERS,
    st.integers(1, 150),
)
CHANGES = st.lists(
    st.tuples(st.sampled_from(("put", "insert", "delete")), st.integers(0, 1 << 20), st.integers(0, 255)),
    min_size=1,
    max_size=3,
)
LIKELY = b'{}[]":,\\ 0123456789-+.eExpadtypeidevnt_lgs\x00\x7f\xc3\xa9\n'


@given(NEARLY, CHANGES, st.booleans())
def test_what_is_changed_by_a_few_bytes_is_taken_only_if_python_takes_it_and_as_the_same(
    text: bytearray, changes: list[tuple[str, int, int]], likely: bool
) -> None:
    for kind, where, byte in changes:
        value = LIKELY[byte % len(LIKELY)] if likely else byte
        at = where % (len(text) + 1)
        if kind == "insert":
            text.insert(at, value)
        elif at < len(text):
            if kind == "put":
                text[at] = value
            else:
                del text[at]
    taken, rows = by_fast_path(bytes(text), {"s1": 5})
    if taken:
        assert rows == by_python(bytes(text), {"s1": 5})
        assert len(rows) == 1
    else:
        assert rows == []


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"{}",
        b'{"type":"ka"}',
        b'{"type":"data"}',
        b'{"type":"data","type":"data","id":"s1"}',
        b'{"type":"data","id":"s1","id":"s1"}',
        b'{"type":"data","id":"s1"',
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}"',
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}"}}',
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}",}',
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}","more":01}',
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}","i\\u0064":"s2"}',
        b'{"type":"data2","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5]}"}',
        b'{"type":"data","id":"s1","event":["{\\"_lg\\":[1,2,3,4,5]}"]}',
        b'{"type":"data","id":"s1","event":{"_lg":[1,2,3,4,5]}}',
        b'{"type":"data","id":"s2","event":"{\\"_lg\\":[1,2,3,4,5]}"}',
        b'{"type":"data","id":"","event":"{\\"_lg\\":[1,2,3,4,5]}"}',
        b'{"type":"data","id":"' + b"s" * 500 + b'","event":"{\\"_lg\\":[1,2,3,4,5]}"}',
        b'{"type":"data","id":["s1"],"event":"{\\"_lg\\":[1,2,3,4,5]}"}',
    ],
)
def test_messages_of_another_form_are_left_to_python(text: bytes) -> None:
    assert by_fast_path(text, {"s1": 5}) == (False, [])


@given(st.dictionaries(st.from_regex(r"s[0-9]{1,127}", fullmatch=True), INT63, min_size=1, max_size=200))
def test_each_of_many_subscriptions_has_its_own_number(numbers: dict[str, int]) -> None:
    fast_path, buffer = fast_path_of(numbers)
    event = encode_event(1, 2, 3, 4, 5, 10)
    for subscription_id in numbers:
        frame = frames.text_frame(messages.data(subscription_id, event))
        assert fast_path.take_frames(frame, 0, 0) == len(frame)
    assert rows_of(buffer)[:, 0].tolist() == list(numbers.values())
    fast_path.clear()
    for subscription_id in numbers:
        assert fast_path.take_frames(frames.text_frame(messages.data(subscription_id, event)), 0, 0) == 0


@pytest.mark.parametrize("subscription_id", ["", "s" * 129, 's"', "s\\", "é", "a\n"])
def test_an_id_that_could_not_be_found_in_a_message_is_refused(subscription_id: str) -> None:
    fast_path, _ = fast_path_of({})
    with pytest.raises(ValueError, match="an id"):
        fast_path.add(subscription_id, 1)


def test_frames_are_taken_up_to_the_first_that_is_not_for_the_fast_path() -> None:
    fast_path, buffer = fast_path_of({"s1": 5})
    ours = [
        frames.text_frame(messages.data("s1", encode_event(1, 2, n, 4, 5, size)))
        for n, size in enumerate((20, 200))
    ]
    other = frames.text_frame(messages.KEEPALIVE)
    whole = b"".join(ours)
    for cut in range(len(whole)):
        taken = fast_path.take_frames(whole[:cut], 0, 0)
        assert taken == (0 if cut < len(ours[0]) else len(ours[0]))
        assert len(rows_of(buffer)) == (1 if taken else 0)
    assert fast_path.take_frames(whole + other + whole, 0, 0) == len(whole)
    assert rows_of(buffer)[:, 6].tolist() == [0, 1]


@pytest.mark.parametrize("first_bytes", [b"\x01", b"\x82", b"\x89", b"\xc1", b"\x88"])
def test_frames_of_another_kind_are_left_to_python(first_bytes: bytes) -> None:
    fast_path, _ = fast_path_of({"s1": 5})
    frame = frames.text_frame(messages.data("s1", encode_event(1, 2, 3, 4, 5, 20)))
    assert fast_path.take_frames(first_bytes + frame[1:], 0, 0) == 0
    masked = bytes((frame[0], frame[1] | 0x80)) + frame[2:]
    assert fast_path.take_frames(masked, 0, 0) == 0


def test_what_is_not_a_buffer_of_rows_is_refused() -> None:
    rows: Any = native.Rows(9, 4)
    with pytest.raises(ValueError, match="given back"):
        rows.give_back(bytearray(3))
    with pytest.raises(TypeError):
        rows.add(1, 2, 3, (4,))
    with pytest.raises(ValueError, match="9 columns"):
        native.DeliveryFastPath(native.Rows(5, 4))
    with pytest.raises(TypeError):
        native.FastPath()
