"""Test publishes that C sends and answers that it takes: the rows are those of the Python path.

``LOADGEN_FUZZ_FRAMES`` sets the number of fuzzed answers, ``LOADGEN_FUZZ_SEED`` the seed.
"""

import json
import os
import socket
from contextlib import suppress
from random import Random
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import native
from loadgen.measure.publishes import Events
from loadgen.measure.rows import EventRow
from loadgen.measure.stamp import Parts
from loadgen.payloads.stamping import Body, plain, stamped
from loadgen.protocol.appsync import messages
from loadgen.server import frames
from tests.native.fuzz import changed, value, written

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

ANSWERS = int(os.environ.get("LOADGEN_FUZZ_FRAMES", "50000")) // 2
SEED = int(os.environ.get("LOADGEN_FUZZ_SEED", "23"))
FRAME = messages.publish_frame('/default/é"', {"x-api-key": "k", "host": "h"})
ARRIVAL_NS = 1_790_000_000_000_000_001
#: Numbers of the publishes that await an answer; each has one event.
OPEN = (0, 1, 9, 12, 99, 10**17)


class Lane:
    """A `PublishLane`, the rows of its publishes, and the fast path that reads its answers."""

    def __init__(self) -> None:
        self.rows = native.PublishRows()
        self.lane = native.PublishLane(self.rows, 7, 3)
        self.fast_path = native.DeliveryFastPath(native.Rows(9, 64))
        self.fast_path.answers(self.lane)

    def publish(self, number: int, events: int = 1, descriptor: int = -1, **given: Any) -> Any:
        bodies = given.pop("bodies", None) or [plain(100)] * events
        return self.lane.publish(
            descriptor, FRAME, number, 10 * number, given.pop("channel", "/default/a"), 100, 110, bodies,
            given.pop("remote", "127.0.0.1:1"), given.pop("cause", None), given.pop("owner", 0),
        )  # fmt: skip

    def takes(self, text: bytes) -> bool:
        frame = frames.text_frame(text)
        taken = self.fast_path.take_frames(frame, ARRIVAL_NS, ARRIVAL_NS + 5)
        assert taken in (0, len(frame))
        return taken > 0

    def events(self) -> list[EventRow]:
        return list(Events(*self.rows.take()))


def answer(number: int, **more: Any) -> bytes:
    return json.dumps({"type": "publish_success", "id": f"p{number}", **more}).encode()


def unmasked(frame: bytes) -> bytes:
    size, begin = frame[1] & 0x7F, 2
    if size >= 126:
        begin += 2 if size == 126 else 8
        size = int.from_bytes(frame[2:begin], "big")
    mask, payload = frame[begin : begin + 4], frame[begin + 4 :]
    assert frame[0] == 0x81
    assert frame[1] & 0x80
    assert len(payload) == size
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


# Sending.

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
_PARTS = st.tuples(_TEXTS, _TEXTS, st.none() | st.integers(-5, 400))


@given(st.lists(_PARTS, max_size=6), st.integers(0, 2**62), st.integers(0, 2**40))
def test_a_message_is_the_one_that_python_makes(parts: list[Parts], number: int, first: int) -> None:
    lane = native.PublishLane(native.PublishRows(), 2**31 - 1, 12)
    bodies = [Body(each) for each in parts]
    frame = lane.publish(-1, FRAME, number, first, "/default/a", -5, 6, bodies, None, None, 4)
    given_up = lane.withdraw_all()
    sent_ns, sizes = given_up[0][6], given_up[0][7]
    sequences = range(first, first + len(bodies))
    events, expected_sizes = stamped(2**31 - 1, 12, sequences, -5, sent_ns, bodies)
    authorization = {"x-api-key": "k", "host": "h"}
    expected = messages.publish(f"p{number}", '/default/é"', [str(event) for event in events], authorization)
    assert isinstance(frame, bytes)
    assert unmasked(frame) == expected
    assert sizes == expected_sizes
    assert given_up == [(number, 4, first, "/default/a", -5, 6, sent_ns, sizes, None, None)]


@pytest.mark.parametrize("size", [1, 200, 70_000, 300_000])
def test_a_whole_frame_reaches_the_socket_and_the_rest_comes_back(size: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        of = Lane()
        sent = of.publish(1, bodies=[plain(size)], descriptor=ours.fileno())
        rest = b"" if sent is True else sent
        ours.setblocking(True)
        theirs.settimeout(10)
        got = b""
        while not rest or got[-len(rest) :] != rest:
            got += theirs.recv(1 << 20)
            if sent is True and len(got) >= size:
                break
            if rest and len(got) > size // 2 and sent is not True:
                got += rest
                break
        assert len(json.loads(unmasked(got))["events"]) == 1
        # The socket's buffer is full, so C sends nothing and returns the whole frame.
        ours.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                ours.send(b"x" * 100_000)
        whole = of.publish(2, descriptor=ours.fileno())
        assert json.loads(unmasked(whole))["id"] == "p2"
    # A frame for a broken socket counts as sent; the reader of the socket reports the error.
    assert of.publish(3, descriptor=ours.fileno()) is not None
    assert len(of.lane) == 3


def test_what_cannot_be_made_natively_or_is_wrong_leaves_nothing() -> None:
    of = Lane()
    assert of.publish(1, bodies=[plain(10), Body(None)]) is None
    for wrong in (
        {"bodies": [Body(("\ud800", "", None))]},
        {"bodies": [Body(cast(Any, ("a", "b")))]},
        {"bodies": [object()]},
        {"channel": 5},
        {"remote": b""},
        {"cause": (1, 2)},
        {"cause": (1, 2, 2**63)},
    ):
        with pytest.raises((TypeError, UnicodeEncodeError, AttributeError, OverflowError)):
            of.publish(1, **wrong)
    with pytest.raises(ValueError, match="from 0"):
        of.publish(-1)
    assert of.publish(1) is not None
    with pytest.raises(ValueError, match="awaits its answer"):
        of.publish(1)
    with pytest.raises(ValueError, match="one lane"):
        of.fast_path.answers(of.lane)
    assert (len(of.lane), of.events(), of.rows.take_accepted()) == (1, [], 0)


# Answers.


def test_an_answer_makes_the_rows_of_its_publish() -> None:
    of = Lane()
    of.publish(1, 2, channel="/default/b", cause=(4, 5, 6))
    of.publish(2, 1, remote=None)
    assert of.takes(answer(2))
    assert of.takes(answer(1, failed=[], successful=[{"identifier": "é\n", "index": 0}, {}]))
    assert not of.takes(answer(1)), "a second answer is Python's"
    rows = of.events()
    assert all(row.sent_ns is not None and row.sent_ns > 10**18 for row in rows)
    assert [row._replace(sent_ns=1) for row in rows] == [
        EventRow(
            3, 20, 2, "/default/a", 100, 110, 1, ARRIVAL_NS, "accepted", None, 100, 0, None, None, None, None
        ),
        EventRow(
            3, 10, 1, "/default/b", 100, 110, 1, ARRIVAL_NS, "accepted", None, 100, 0, "127.0.0.1:1", 4, 5, 6
        ),
        EventRow(
            3, 11, 1, "/default/b", 100, 110, 1, ARRIVAL_NS, "accepted", None, 100, 0, "127.0.0.1:1", 4, 5, 6
        ),
    ]
    assert (of.rows.take_accepted(), of.rows.take_accepted(), len(of.lane), of.events()) == (3, 0, 0, [])


@pytest.mark.parametrize(
    "text",
    [
        answer(1, failed=[{"index": 0}]),
        answer(1, failed=None),
        answer(1, successful=None),
        answer(1, successful=[1]),
        answer(1, successful=[{"index": "0"}]),
        answer(1, successful=[{"identifier": 5}]),
        answer(1, errors=[]),
        answer(1, event="x"),
        answer(1, connectionTimeoutMs=5),
        answer(2),
        answer(10**19),
        b'{"type":"publish_success","id":"p01"}',
        b'{"type":"publish_success","id":"p1"',
        b'{"type":"publish_success","id":"p1"}x',
        b'{"type":"publish_success","id":"p1",}',
        b'{"type":"publish_success","id":"p1","id":"p1"}',
        b'{"type":"publish_success","id":"\\u0070\x31"}',
        b'{"type":"publish_success","id":1}',
        b'{"type":"publish_error","id":"p1"}',
        b'{"type":"publish_success"}',
        b'{"id":"p1"}',
        b'{"type":"publish_success","id":"p1","a":"\xff"}',
        b"[]",
        b"",
    ],
)
def test_any_other_answer_is_left_to_python(text: bytes) -> None:
    of = Lane()
    of.publish(1)
    assert not of.takes(text)
    assert "p1" in of.lane
    assert (of.rows.take_accepted(), of.events()) == (0, [])


def test_deliveries_are_taken_beside_answers() -> None:
    rows = native.Rows(9, 64)
    of = Lane()
    of.fast_path = native.DeliveryFastPath(rows)
    of.fast_path.add("s1", 5)
    of.fast_path.answers(of.lane)
    of.publish(1)
    delivery = messages.data("s1", '{"_lg":[1,2,3,4,5]}')
    assert of.takes(delivery)
    assert of.takes(answer(1))
    assert of.takes(delivery)
    of.fast_path.clear()
    of.publish(2)
    assert not of.takes(delivery)
    assert of.takes(answer(2))
    assert [used for _, used in rows.take()] == [2 * 9 * 8]


def test_publishes_are_given_up_by_owner_and_in_order() -> None:
    of = Lane()
    for number in (30, 4, 17, 5, 1000):
        of.publish(number, owner=number % 2)
    assert [each[0] for each in of.lane.withdraw_all(1)] == [5, 17]
    assert ("p5" in of.lane, len(of.lane)) == (True, 3)
    assert not of.takes(answer(5)), "a late answer is Python's"
    assert of.lane.withdraw("p5") is None
    assert "p5" not in of.lane
    assert [of.lane.withdraw(text) for text in ("", "p", "q4", "p04", "p4 ", "é4", "p" + "9" * 30)] == [
        None
    ] * 7
    given_up = of.lane.withdraw("p4")
    assert given_up is not None
    assert given_up[:2] == (4, 0)
    assert ("p4" in of.lane, "p30" in of.lane, "p" in of.lane) == (False, True, False)
    assert [each[0] for each in of.lane.withdraw_all()] == [30, 1000]
    assert (len(of.lane), of.lane.withdraw_all(), of.events()) == (0, [], [])
    with pytest.raises(TypeError):
        _ = cast(Any, 4) in of.lane


def test_many_open_publishes_are_found_and_freed() -> None:
    of = Lane()
    numbers = list(range(2_000))
    Random(1).shuffle(numbers)
    for number in numbers:
        of.publish(number)
    Random(2).shuffle(numbers)
    for number in numbers[:1_900]:
        assert of.takes(answer(number))
    assert len(of.lane) == 100
    assert sorted(row.batch for row in of.events()) == sorted(numbers[:1_900])
    of.publish(5_000)
    assert of.takes(answer(5_000))


# Fuzz: an answer that C takes must be one that accepts all events according to Python.


def accepts(text: bytes) -> str | None:
    """Return the id of the publish if Python's decoders find that all of its events were accepted."""
    try:
        messages.decode_data_message(text)
    except messages.UNREADABLE:
        pass
    else:
        return None
    try:
        message = messages.decode_server_message(text)
    except messages.UNREADABLE:
        return None
    return message.id if message.type == "publish_success" and not message.failed else None


#: C leaves an answer that contains one of these texts to Python, even if the answer accepts all events.
_FOR_PYTHON = (b"errors", b"event", b"connectionTimeoutMs", b"\\u00fc")


def made(random: Random) -> bytes:
    number = random.choice((*OPEN, 2, 10))
    successful: list[Any] = [
        {"identifier": random.choice(("a-b", None, 'é"\n')), "index": random.choice((0, 4, None))}
        for _ in range(random.randrange(4))
    ]
    parts: list[tuple[str, Any]] = [("type", "publish_success"), ("id", f"p{number}")]
    if random.random() < 0.8:
        parts.append(("failed", [] if random.random() < 0.9 else [{"index": 0, "code": 5}]))
    if random.random() < 0.8:
        if successful and random.random() < 0.3:
            successful[0][random.choice(("more", "ü"))] = value(random, 2)
        parts.append(("successful", successful))
    if random.random() < 0.2:
        name = random.choice(("more", "event", "errors", "connectionTimeoutMs"))
        parts.append((name, value(random, 2)))
    if random.random() < 0.4:
        random.shuffle(parts)
    return written(random, dict(parts)).encode()


@pytest.mark.long
def test_fuzzed_answers_are_judged_as_python_judges_them() -> None:
    random = Random(SEED)
    of = Lane()
    taken = valid = 0
    for _ in range(ANSWERS // 8):
        text = made(random)
        for variant in range(8):
            mutant = text if variant == 0 else changed(text, random)
            for number in OPEN:
                if f"p{number}" not in of.lane:
                    of.publish(number)
            if len(mutant) >= 65_536:
                continue
            if of.takes(mutant):
                taken += 1
                (row,) = of.events()
                assert accepts(mutant) == f"p{row.batch}", mutant
            elif variant == 0 and not any(word in text for word in _FOR_PYTHON):
                assert accepts(text) not in {f"p{number}" for number in OPEN}, text
            valid += variant == 0
    assert taken > valid // 3


def test_the_encoder_spells_all_characters_as_msgspec_does() -> None:
    of = native.PublishLane(native.PublishRows(), 1, 1)
    text = "".join(map(chr, [*range(0x800), 0x2028, 0xFFFD, 0x1F600]))
    frame = of.publish(-1, FRAME, 1, 0, "/a", 1, 1, [Body((text, "", None))], None, None, 0)
    assert isinstance(frame, bytes)
    assert msgspec.json.encode(text)[1:-1] in unmasked(frame)
