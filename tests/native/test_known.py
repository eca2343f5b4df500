"""Test events that the fast path knows from another connection: they give the same rows."""

import json
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native
from loadgen.payloads.integrity import canonical, checksum
from loadgen.protocol.appsync import messages
from loadgen.server import frames

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")


def event(stamp: list[int], filling: str, name: str = "_lg") -> str:
    return json.dumps({name: stamp, "text": filling}, separators=(",", ":"))


def frame(subscription_id: str, text: str) -> bytes:
    return frames.text_frame(messages.data(subscription_id, text))


def connection(rows: native.Rows, tokens: tuple[str, ...] = ("_lg",), checked: bool = False) -> Any:
    fast_path = native.DeliveryFastPath(rows, tokens, checked)
    for number in range(3):
        fast_path.add(f"s{number}", number)
    return fast_path


def mqtt_packet(_: str, text: str) -> bytes:
    return bytes(mqtt5.PublishPacket("a/b", text.encode()).write())


def mqtt_connection(rows: native.Rows) -> Any:
    lane = native.PacketFastPath(rows, ("_lg",))
    lane.add("a/b", 1)
    return lane


def rows_in(rows: native.Rows) -> list[list[int]]:
    values = [value for buffer, used in rows.take() for value in memoryview(buffer)[:used].cast("q")]
    return [values[at : at + 9] for at in range(0, len(values), 9)]


@given(
    st.integers(0, 2**32),
    st.lists(st.sampled_from((0, 5, 100, 2_000, 8_100, 8_200, 20_000)), min_size=1, max_size=120),
    st.integers(1, 5),
    st.sampled_from((1, 3, 20, 70)),
)
def test_connections_that_get_the_same_events_each_at_its_own_pace_record_all(
    seed: int, sizes: list[int], connections: int, most_at_once: int
) -> None:
    random = Random(seed)
    rows = native.Rows(9, 1000)
    events = [event([1, 2, number, 4, 5], "x" * size) for number, size in enumerate(sizes)]
    everyone = [connection(rows) for _ in range(connections)]
    places = [0] * connections
    expected: list[tuple[int, int]] = []
    while min(places) < len(events):
        who = random.randrange(connections)
        ahead = events[places[who] : places[who] + random.randrange(1, most_at_once + 1)]
        data = b"".join(frame(f"s{who % 3}", text) for text in ahead)
        assert everyone[who].take_frames(data, 7, 8) == len(data)
        expected += [(who % 3, places[who] + at) for at in range(len(ahead))]
        places[who] += len(ahead)
    assert [(row[0], row[6]) for row in rows_in(rows)] == expected


def test_an_event_that_differs_only_behind_or_before_a_known_one_is_another() -> None:
    rows = native.Rows(9, 100)
    first, second = connection(rows), connection(rows)
    known = frame("s1", event([1, 2, 3, 4, 5], "abc"))
    assert first.take_frames(known, 7, 8) == len(known)
    body = known[2:] if known[1] != 126 else known[4:]
    for at in range(len(body)):
        for changed in (body[:at] + b"!" + body[at + 1 :], body[:at] + body[at + 1 :], body[:at]):
            other = frames.text_frame(changed)
            alone = native.Rows(9, 100)
            taken = connection(alone).take_frames(other, 7, 8)
            assert second.take_frames(other, 7, 8) == taken
            assert rows_in(rows)[-1:] if taken else True
    found = rows_in(rows)
    assert found == []


def test_what_is_known_of_one_place_or_without_a_checksum_is_not_known_of_another() -> None:
    rows = native.Rows(9, 100)
    plain, elsewhere, checked = (
        connection(rows), connection(rows, ("trace",)), connection(rows, ("_lg",), checked=True)
    )  # fmt: skip
    both = json.dumps({"_lg": [1, 2, 3, 4, 5], "trace": [6, 7, 8, 9, 10]}, separators=(",", ":"))
    for fast_path in (plain, elsewhere, plain, elsewhere):
        data = frame("s1", both)
        assert fast_path.take_frames(data, 7, 8) == len(data)
    assert [row[6] for row in rows_in(rows)] == [3, 8, 3, 8]
    assert checked.take_frames(frame("s1", both), 7, 8) == 0
    content: dict[str, Any] = {"_lg": [1, 2, 3, 4, 5], "text": "abc"}
    crc = checksum(canonical(json.dumps(content), ("_lg",)))
    right = event([1, 2, 3, 4, 5, crc], "abc")
    wrong = event([1, 2, 3, 4, 5, crc ^ 1], "abc")
    others = [connection(rows, ("_lg",), checked=True) for _ in range(3)]
    for text, taken in ((right, True), (wrong, False)):
        for fast_path in others:
            data = frame("s1", text)
            assert fast_path.take_frames(data, 7, 8) == (len(data) if taken else 0)
    assert len(rows_in(rows)) == 3


def test_events_that_nobody_else_gets_are_recorded_whether_they_are_remembered_or_not() -> None:
    rows = native.Rows(9, 100_000)
    everyone = [connection(rows) for _ in range(7)]
    for number in range(20_000):
        data = frame("s1", event([1, 2, number, 4, 5], "x"))
        assert everyone[number % 7].take_frames(data, 7, 8) == len(data)
    # Each event so far went to one connection only, so the fast paths paused remembering events. From here on, each
    # event goes to all connections.
    for number in range(3_000):
        data = frame("s1", event([1, 2, number, 4, 5], "y"))
        for fast_path in everyone:
            assert fast_path.take_frames(data, 7, 8) == len(data)
    found = [row[6] for row in rows_in(rows)]
    assert found[:20_000] == list(range(20_000))
    assert found[20_000:] == [number for number in range(3_000) for _ in everyone]
    assert all(after >= before for before, after in pairwise(found[20_000:]))


@pytest.mark.parametrize(
    ("size", "at_once", "channels"),
    [
        (5, 1, 1),
        (5, 20, 1),
        (5, 60, 1),
        (5, 1, 20),
        (5, 3, 20),
        (2_000, 1, 1),
        (2_000, 25, 1),
        (2_000, 1, 20),
    ],
)
@pytest.mark.parametrize(("connect", "carried"), [(connection, frame), (mqtt_connection, mqtt_packet)])
def test_a_fan_out_is_compared_whatever_came_before(
    connect: Callable[[native.Rows], Any],
    carried: Callable[[str, str], bytes],
    size: int,
    at_once: int,
    channels: int,
) -> None:
    rows = native.Rows(9, 100_000)
    everyone = [connect(rows) for _ in range(100)]
    # Events that only one connection gets make the fast paths pause, and leave each connection at another place.
    before = 8_720
    for number in range(before):
        data = carried("s1", event([1, 2, number, 4, 5], "x"))
        assert everyone[number * number % 97].take_frames(data, 7, 8) == len(data)
    assert rows.compared == 0
    rounds = 40
    for number in range(rounds):
        stamps = [[9, 2, number * at_once + each, 10**18 + number, 5] for each in range(at_once)]
        bursts = [
            b"".join(carried("s1", event(stamp, chr(97 + channel) * size)) for stamp in stamps)
            for channel in range(channels)
        ]
        for who, fast_path in enumerate(everyone):
            burst = bursts[who % channels]
            assert fast_path.take_frames(burst, 7, 8) == len(burst)
    assert len(rows_in(rows)) == before + rounds * at_once * len(everyone)
    # Only the first subscriber of a channel brings new events.
    assert rows.compared == rounds * at_once * (len(everyone) - channels)
