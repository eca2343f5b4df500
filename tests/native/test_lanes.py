"""Test, without a connection, the C code (a lane) that reads a connection's messages.

The tests are about names, frames, messages split over several reads, and invalid templates.
"""

import gc
import weakref
from typing import Any

import mqtt5
import pytest

from loadgen import native
from tests.native.fuzz import rows_in

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

EVENT = b'{"_lg":[1,2,3,4,5],"text":"hello"}'
STAMP = [1, 2, 3, 4, 5]
TIMES = (1_790_000_000_000_000_001, 1_790_000_000_000_000_777, 50, 7)


def row(number: int, uncertain_ns: int = 7) -> list[int]:
    return [number, *TIMES[:2], uncertain_ns, *STAMP]


def packets_lane(first: int = native.NO_FRAMES) -> tuple[native.PacketFastPath, native.Rows]:
    rows = native.Rows(9, 16)
    return native.PacketFastPath(rows, ("_lg",), first), rows


def publish(topic: str = "a/b", **more: Any) -> bytes:
    return bytes(mqtt5.PublishPacket(topic, EVENT, **more).write())


def framed(*contents: bytes, first: int = native.BINARY_FRAMES) -> bytes:
    return b"".join(bytes((first, 126)) + len(each).to_bytes(2, "big") + each for each in contents)


def lines_lane(*parts: Any, only: int | None = None) -> tuple[native.TemplateFastPath, native.Rows]:
    rows = native.Rows(9, 16)
    template = native.Template("lines", parts)
    return native.TemplateFastPath(rows, ("_lg",), template, native.BINARY_FRAMES, only), rows


class TestPackets:
    def test_each_topic_has_the_number_of_its_subscription(self) -> None:
        lane, rows = packets_lane()
        numbers = {f"topic/{number}": number * 3 - 50 for number in range(100)}
        for topic, number in numbers.items():
            lane.add(topic, number)
        for topic, number in numbers.items():
            assert lane.take_frames(publish(topic), *TIMES) == len(publish(topic))
            assert rows_in(rows) == [row(number)]
        assert lane.take_frames(publish("topic/100"), *TIMES) == 0
        lane.add("topic/1", None)
        assert lane.take_frames(publish("topic/1"), *TIMES) == 0

    @pytest.mark.parametrize(
        ("topic", "number"),
        [
            ("a/b", 1), ("a/c", 2), ("a/", 2), ("a", None), ("a/deep/x", 3), ("a/deep/x/y", 3), ("a/deep", 2),
            ("a/unknown/x", None), ("b/x", None), ("a/é", None), ("ab/c", None), ("a/blocked", None),
        ],
    )  # fmt: skip
    def test_a_topic_belongs_to_its_own_subscription_or_to_the_longest_beginning(
        self, topic: str, number: int | None
    ) -> None:
        lane, rows = packets_lane()
        lane.add("a/b", 1)
        lane.add("a/blocked", None)
        lane.add_below("a/", 2)
        lane.add_below("a/deep/", 3)
        lane.add_below("a/unknown/", None)
        lane.take_frames(publish(topic), *TIMES)
        assert rows_in(rows) == ([] if number is None else [row(number)])

    def test_a_message_that_ends_within_the_read_is_less_certain_than_the_last(self) -> None:
        lane, rows = packets_lane()
        lane.add("a/b", 1)
        data = publish() * 3
        assert lane.take_frames(data, *TIMES) == len(data)
        assert rows_in(rows) == [row(1, 50), row(1, 50), row(1, 7)]

    def test_what_is_cut_is_left_and_nothing_of_it_is_owed(self) -> None:
        lane, rows = packets_lane()
        lane.add("a/b", 1)
        whole = publish(qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=258)
        for size in range(len(whole)):
            assert lane.take_frames(whole[:size], *TIMES) == 0
        assert lane.take_owed() == b""
        assert lane.take_frames(whole + whole[:9], *TIMES) == len(whole)
        assert rows_in(rows) == [row(1, 50)]
        assert lane.take_owed() == bytes(mqtt5.PubAckPacket(258).write())
        assert lane.take_owed() == b""

    def test_no_more_is_owed_than_a_broker_may_leave_unacknowledged(self) -> None:
        lane, rows = packets_lane()
        lane.add("a/b", 1)
        one = publish(qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1)
        taken = 0
        while (size := lane.take_frames(one * 1000, *TIMES)) == 1000 * len(one):
            taken += 1000
            rows_in(rows)
        taken += size // len(one)
        assert taken == 65_535
        assert len(lane.take_owed()) == 4 * taken
        assert lane.take_frames(one, *TIMES) == len(one)

    def test_nothing_is_taken_while_the_session_holds_a_beginning(self) -> None:
        for first in (native.NO_FRAMES, native.BINARY_FRAMES):
            lane, rows = packets_lane(first)
            lane.add("a/b", 1)
            data = framed(publish()) if first else publish()
            lane.hold(True)
            assert lane.take_frames(data, *TIMES) == 0
            lane.hold(False)
            assert lane.take_frames(data, *TIMES) == len(data)
            assert rows_in(rows) == [row(1)]

    def test_a_frame_is_taken_as_a_whole_or_not_at_all(self) -> None:
        lane, rows = packets_lane(native.BINARY_FRAMES)
        lane.add("a/b", 1)
        one = publish(qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=9)
        good = framed(one * 40)
        assert lane.take_frames(good + framed(one * 3 + publish("x") + one) + good, *TIMES) == len(good)
        assert rows_in(rows) == [row(1, 50)] * 40
        assert len(lane.take_owed()) == 160
        for bad in (framed(one + one[:5]), framed(b""), framed(one, first=native.TEXT_FRAMES), b"\x89\x00"):
            assert lane.take_frames(bad, *TIMES) == 0
        assert rows_in(rows) == []
        assert lane.take_owed() == b""

    def test_a_frame_has_a_length_of_one_two_or_eight_bytes(self) -> None:
        lane, rows = packets_lane(native.BINARY_FRAMES)
        lane.add("a/b", 1)
        one = publish()
        for header in (bytes((0x82, len(one))), b"\x82\x7f" + len(one).to_bytes(8, "big")):
            assert lane.take_frames(header + one, *TIMES) == len(header + one)
        for header in (b"\x82\x80", b"\x82\xfe\x00", b"\x82\x7f\xff" + bytes(7), b"\x82\x7f" + b"\xff" * 8):
            assert lane.take_frames(header + one, *TIMES) == 0
        assert rows_in(rows) == [row(1)] * 2


class TestTemplates:
    def test_a_line_tells_its_subscription_and_its_size(self) -> None:
        lane, rows = lines_lane(b"MSG ", "word", b" ", "key", b" ", "size", b"\r\n", "event", b"\r\n")
        lane.add("s1", 4)
        message = b"MSG a.b s1 %d\r\n%b\r\n" % (len(EVENT), EVENT)
        assert lane.take_frames(framed(message, message * 3), *TIMES) == len(framed(message, message * 3))
        assert rows_in(rows) == [row(4, 50), *[row(4)] * 3]
        for bad in (
            message[:-1], message + b"P", message.replace(b"s1", b"s2"), message.replace(b" %d" % len(EVENT), b" 5"),
            message.replace(b" %d" % len(EVENT), b" 0000000034"), message.replace(b"a.b ", b"a.b  "),
            message.replace(b"\r\n", b"\n"), message.replace(b"hello", b"h\xff"),
        ):  # fmt: skip
            assert lane.take_frames(framed(bad), *TIMES) == 0, bad
        assert rows_in(rows) == []

    def test_a_number_names_a_subscription_whatever_its_leading_zeros(self) -> None:
        lane, rows = lines_lane(b"D ", "number", b";", "event", b"\r\n")
        lane.add("12", 4)
        for written in (b"12", b"0012", b"000000012"):
            data = framed(b"D %b;%b\r\n" % (written, EVENT))
            assert lane.take_frames(data, *TIMES) == len(data)
        assert rows_in(rows) == [row(4)] * 3
        for written in (b"", b"0000000012", b"13", b"-12"):
            assert lane.take_frames(framed(b"D %b;%b\r\n" % (written, EVENT)), *TIMES) == 0

    def test_json_has_its_values_at_their_places(self) -> None:
        rows = native.Rows(9, 16)
        described = (
            "object",
            (
                (b"type", b"data"), (b"n", -3), (b"none", "null"),
                (b"sub", ("list", ((1, "json_number"),))), (b"payload", ("object", ((b"data", "json_raw"),))),
            ),
        )  # fmt: skip
        lane = native.TemplateFastPath(rows, ("_lg",), native.Template("json", described), native.TEXT_FRAMES)
        lane.add("7", 4)
        good = (
            b'{"x":[1],"type":"data","n":-3,"none":null, "sub":["a",7,{}],"payload":{"y":"\\"","data":%b}}'
            % EVENT
        )
        assert lane.take_frames(framed(good, first=native.TEXT_FRAMES), *TIMES)
        assert rows_in(rows) == [row(4)]
        for one, other in (
            (b'"n":-3', b'"n":-30'), (b'"n":-3', b'"n":-3.0'), (b'"data",', b'"date",'), (b'"a",7', b'"a"'),
            (b"null", b"nul"), (b"null", b"0"), (b'"a",7', b'"a",8'), (b'"a",7', b'"a",07'), (b'"type"', b'"typ"'),
            (b'"x":[1]', b'"n":-3'), (b'"type"', b'"t\\u0079pe"'), (b"[1]", b"[1"), (b"}}", b"}}}"), (b"}}", b"}"),
        ):  # fmt: skip
            assert one in good
            bad = framed(good.replace(one, other, 1), first=native.TEXT_FRAMES)
            assert lane.take_frames(bad, *TIMES) == 0, (one, other)
        assert rows_in(rows) == []

    @pytest.mark.parametrize(
        ("messages", "described"),
        [
            ("texts", ("event",)), ("text", ("json_key",)), ("text", ("events",)), ("text", (3,)),
            ("text", ("event",) * 65),
            ("json", ()), ("json", ("object", ())), ("json", ("object", ((3, "null"),))),
            ("json", ("list", ((-1, "null"),))),
            ("json", ("tuple", ((0, "null"),))), ("json", ("object", ((b"a", "event"),))),
            ("json", ("object", (b"a",))),
            ("json", ("object", ((b"a", 1.5),))),
            ("json", ("object", tuple((b"%d" % n, "null") for n in range(64)))),
            ("json", (3, ((0, "null"),))), ("json", ("list", ((2**40, "null"),))),
        ],
    )  # fmt: skip
    def test_what_is_no_template_is_refused(self, messages: str, described: tuple[Any, ...]) -> None:
        with pytest.raises(ValueError, match=r"template|messages are"):
            native.Template(messages, described)

    def test_a_template_has_a_depth(self) -> None:
        described: Any = "json_raw"
        for _ in range(17):
            described = ("object", ((b"a", described),))
        with pytest.raises(ValueError, match="template"):
            native.Template("json", described)
        with pytest.raises(OverflowError):
            native.Template("json", ("object", ((b"a", 2**63),)))


def test_an_event_that_was_read_a_moment_ago_is_the_same_again() -> None:
    """Once the fast path of one connection has parsed an event, those of the others recognise its bytes.

    Other bytes are parsed.
    """
    rows = native.Rows(9, 64)
    lanes = [native.PacketFastPath(rows, ("_lg",)) for _ in range(3)]
    for number, lane in enumerate(lanes):
        lane.add("a/b", number)
    for sequence in (1, 2, 1, 3, 1):
        event = b'{"_lg":[1,2,%d,4,5],"text":"hello"}' % sequence
        for number, lane in enumerate(lanes):
            data = bytes(mqtt5.PublishPacket("a/b", event).write())
            assert lane.take_frames(data, *TIMES) == len(data)
            assert rows_in(rows) == [[number, *TIMES[:2], 7, 1, 2, sequence, 4, 5]]
        for bad in (
            event[:-1],
            event + b"}",
            event.replace(b"hello", b"he\nlo"),
            event.replace(b"_lg", b"_lh"),
        ):
            assert lanes[0].take_frames(bytes(mqtt5.PublishPacket("a/b", bad).write()), *TIMES) == 0
        spaced = bytes(mqtt5.PublishPacket("a/b", event + b" ").write())
        assert lanes[0].take_frames(spaced, *TIMES) == len(spaced)
        assert rows_in(rows) == [[0, *TIMES[:2], 7, 1, 2, sequence, 4, 5]]


def test_an_event_that_is_known_by_itself_is_not_known_within_a_string() -> None:
    rows = native.Rows(9, 16)
    template = native.Template("text", ("event",))
    bare = native.TemplateFastPath(rows, ("0",), template, native.TEXT_FRAMES, 4)
    within = native.DeliveryFastPath(rows, ("0",))
    within.add("s1", 5)
    event = b"[\n[1,2,3,4,5]]"  # within a string of the message, a newline is not valid JSON
    assert bare.take_frames(framed(event, first=native.TEXT_FRAMES), *TIMES)
    message = b'{"type":"data","id":"s1","event":"%b"}' % event
    assert within.take_frames(framed(message, first=native.TEXT_FRAMES), *TIMES) == 0
    assert within.take_frames(framed(message.replace(b"\n", b""), first=native.TEXT_FRAMES), *TIMES)
    assert rows_in(rows) == [row(4), row(5)]


def test_what_cannot_be_a_lane_is_refused() -> None:
    rows = native.Rows(9, 16)
    template = native.Template("text", ("event",))
    with pytest.raises(ValueError, match="0x81"):
        native.PacketFastPath(rows, ("_lg",), 3)
    with pytest.raises(ValueError, match="in frames"):
        native.TemplateFastPath(rows, ("_lg",), template, native.NO_FRAMES)
    with pytest.raises(ValueError, match="9 columns"):
        native.PacketFastPath(native.Rows(8, 16), ("_lg",))
    with pytest.raises(ValueError, match="name"):
        native.PacketFastPath(rows, ())
    with pytest.raises(OverflowError):
        native.TemplateFastPath(rows, ("_lg",), template, native.TEXT_FRAMES, 2**63)
    with pytest.raises(TypeError):
        native.Lane()
    lane = native.PacketFastPath(rows, ("_lg",))
    with pytest.raises(OverflowError):
        lane.add("a", 2**63)
    with pytest.raises(ValueError, match="65535 bytes"):
        lane.add("a" * 65536, 1)


@pytest.mark.parametrize("kind", ["packets", "template"])
def test_a_cycle_through_a_lane_is_collected(kind: str) -> None:
    class Owner:
        """Stands in for a recorder: it refers to its rows, and they refer to its method to call when they are full."""

        lane: native.Lane

        def act(self) -> None: ...

    owner = Owner()
    rows = native.Rows(9, 16)
    rows.on_backpressure(1, owner.act)
    if kind == "packets":
        owner.lane = native.PacketFastPath(rows, ("_lg",))
    else:
        owner.lane = native.TemplateFastPath(
            rows, ("_lg",), native.Template("text", ("event",)), native.TEXT_FRAMES
        )
    owner.lane.add("a", 1)
    del rows
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
