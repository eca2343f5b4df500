"""Test which JSON the fast path takes, with the stamp at any place, and that Python makes the same row."""

import json
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from loadgen import native
from loadgen.payloads.integrity import canonical, checksum
from loadgen.payloads.place import Place, index_of, place_named, split
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import NativePlace, Stamping, native_place
from loadgen.protocol.appsync import messages
from loadgen.server import frames
from tests.native.fuzz import ARRIVAL_NS, NUMBERS, READ_NS, by_python, new_fast_path, reader, rows_in

pytestmark = pytest.mark.skipif(not native.available, reason="the native receive path was not built")

STAMP = [7, 3, 12, 1_790_000_000_000_000_000, 1_790_000_000_000_000_123]
DEFAULT = place_named("_lg")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
#: Any JSON, except numbers that only some decoders can read.
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**150), 10**150)
    | st.floats(-1e90, 1e90, allow_nan=False).filter(lambda number: number == 0 or abs(number) > 1e-90)
    | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=15,
)
STYLES = st.fixed_dictionaries(
    {
        "ensure_ascii": st.booleans(),
        "indent": st.sampled_from([None, 0, 2, "\t"]),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]),
    }
)
#: Member names without characters that JSON escapes, so that the Python path finds the member too.
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters='"\\', min_codepoint=32), max_size=6
)


@st.composite
def events(draw: st.DrawFn) -> tuple[Any, Place]:
    """Draw an event with a stamp among other members; return it and the stamp's place."""
    tokens = draw(st.lists(NAMES | st.sampled_from(["0", "1", "_lg"]), min_size=1, max_size=5))
    inner: Any = STAMP
    for token in reversed(tokens):
        index = index_of(token)
        if index is not None and index < 5 and draw(st.booleans()):
            inner = [*(draw(VALUES) for _ in range(index)), inner, *draw(st.lists(VALUES, max_size=2))]
        else:
            others = draw(st.dictionaries(WORDS, VALUES, max_size=3))
            others.pop(token, None)
            members = draw(st.permutations([*others.items(), (token, inner)]))
            inner = dict(members)
    pointer = "".join(f"/{token.replace('~', '~0').replace('/', '~1')}" for token in tokens)
    assume(tokens[0] != "pad")
    return inner, Place("pointer", pointer)


def taken(text: bytes, place: Place = DEFAULT, *, integrity: bool = False) -> list[list[int]]:
    """Return the rows, at most one, that the fast path makes of a message."""
    stamps = Stamps(place, integrity)
    fast_path, rows = new_fast_path(stamps)
    frame = frames.text_frame(text)
    size = fast_path.take_frames(frame, ARRIVAL_NS, READ_NS)
    assert size in (0, len(frame))
    found = rows_in(rows)
    assert len(found) == bool(size)
    return found


@given(events(), STYLES, STYLES, st.permutations(["type", "id", "event"]), st.sampled_from(list(NUMBERS)))
def test_any_payload_is_taken_and_gives_the_row_of_python(
    event: tuple[Any, Place],
    inner: dict[str, Any],
    outer: dict[str, Any],
    order: list[str],
    subscription_id: str,
) -> None:
    content, place = event
    members = {"type": "data", "id": subscription_id, "event": json.dumps(content, **inner)}
    text = json.dumps({name: members[name] for name in order}, **outer).encode()
    row = [NUMBERS[subscription_id], ARRIVAL_NS, READ_NS, 0, *STAMP]
    assert taken(text, place) == [row] == [by_python(text, reader(Stamps(place)))]


@pytest.mark.parametrize(
    "event",
    [
        '{"a":1,"_lg":[1,2,3,4,5]}',
        '{"_lg":[1,2,3,4,5],"pad":"xx","pad":"x"}',
        '{"_lg":[ 1 , 2,3\n,4,\t5 ] } ',
        '{"a":{"_lg":[1]},"_lg":[1,2,3,4,5]}',
        '{"a":[{"_lg":[9,9,9,9,9]}],"_lg":[1,2,3,4,5]}',
        '{"\\u005f\\u006cg":[1,2,3,4,5]}',
        '{"é\\u00e9\\ud83d\\ude00":"\\u0000\\b\\f\\n\\r\\t\\/\\\\\\"","_lg":[1,2,3,4,5]}',
        '{"_lg":[1,2,3,4,5],"n":[0,-0,-1,1.5,1e5,1E-5,1e+99,-0.0e0,123456789012345678901234567890]}',
        '{"_lg":[1,2,3,4,5],"e":[{},[],[[]],{"a":{}},"",null,true,false]}',
        '{"_lg":[1,2,3,4,5],"deep":' + "[" * 63 + "]" * 63 + "}",
        '{"":1,"_lg":[1,2,3,4,5]}',
    ],
)
def test_these_events_are_taken(event: str) -> None:
    text = messages.data("s1", event)
    assert (
        taken(text)
        == [[5, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]]
        == [by_python(text, reader(Stamps(DEFAULT)))]
    )


@pytest.mark.parametrize(
    "event",
    [
        # If there are two stamps, Python decides which one counts.
        '{"_lg":[1,2,3,4,5],"_lg":[1,2,3,4,5]}',
        '{"_lg":[1,2,3,4,5],"\\u005flg":1}',
        '{"_lg":1,"_lg":[1,2,3,4,5]}',
        # The following events have no stamp, or an invalid one.
        '{"_lg":[1,2,3,4,5,6]}',
        '{"_lg":[1,2,3,4]}',
        '{"_lg":[1,2,3,4,5.0]}',
        '{"_lg":[1,2,3,4,5e0]}',
        '{"_lg":[1,2,3,4,"5"]}',
        '{"_lg":[1,2,3,4,true]}',
        '{"_lg":[1,2,3,4,9223372036854775808]}',
        '{"_lg":[1,2,3,4,-9223372036854775808]}',
        '{"_lg":[1,2,3,4,18446744073709551621]}',
        '{"_lg":[1,2,3,4,00000005]}',
        '{"_lg":[1,2,3,4,-]}',
        '{"_lg":{"0":1}}',
        '{"_lg":null}',
        '{"a":{"_lg":[1,2,3,4,5]}}',
        '[{"_lg":[1,2,3,4,5]}]',
        '{"_lgx":[1,2,3,4,5]}',
        '{"_l":[1,2,3,4,5]}',
        "{}",
        "[1,2,3,4,5]",
        "",
        # Not JSON.
        '{"_lg":[1,2,3,4,5],}',
        '{"_lg":[1,2,3,4,5],"a":[1,]}',
        '{"_lg":[1,2,3,4,5] "a":1}',
        '{"_lg":[1,2,3,4,5],"a":01}',
        '{"_lg":[1,2,3,4,5],"a":1.}',
        '{"_lg":[1,2,3,4,5],"a":.5}',
        '{"_lg":[1,2,3,4,5],"a":1e}',
        '{"_lg":[1,2,3,4,5],"a":+1}',
        '{"_lg":[1,2,3,4,5],"a":NaN}',
        '{"_lg":[1,2,3,4,5],"a":Infinity}',
        '{"_lg":[1,2,3,4,5],"a":nul}',
        '{"_lg":[1,2,3,4,5],"a":True}',
        '{"_lg":[1,2,3,4,5],"a":\'x\'}',
        '{"_lg":[1,2,3,4,5],"a":"\n"}',
        '{"_lg":[1,2,3,4,5],"a":"\x1f"}',
        '{"_lg":[1,2,3,4,5],"a":"\\x"}',
        '{"_lg":[1,2,3,4,5],"a":"\\u12g4"}',
        '{"_lg":[1,2,3,4,5],"a":"\\ud800"}',
        '{"_lg":[1,2,3,4,5],"a":"\\udc00"}',
        '{"_lg":[1,2,3,4,5],"a":"\\ud800\\u0041"}',
        '{"_lg":[1,2,3,4,5],"a":"}',
        '{"_lg":[1,2,3,4,5],"a"}',
        '{"_lg":[1,2,3,4,5],a:1}',
        '{"_lg":[1,2,3,4,5]}}',
        '{"_lg":[1,2,3,4,5]}{}',
        '{"_lg":[1,2,3,4,5]}\xa0',
        '{"_lg":[1,2,3,4,5],"a":[}',
        '{"_lg":[1,2,3,4,5],"a":{]',
        # The native scanner leaves the following events to Python, whose decoder can read them.
        '{"_lg":[1,2,3,4,-0]}',
        '{"_lg":[1,2,3,4,5],"a":1e100}',
        '{"_lg":[1,2,3,4,5],"a":' + "9" * 201 + "}",
        '{"_lg":[1,2,3,4,5],"deep":' + "[" * 64 + "]" * 64 + "}",
    ],
)
def test_these_events_are_left_to_python(event: str) -> None:
    assert taken(messages.data("s1", event)) == []


@pytest.mark.parametrize(
    ("pointer", "event"),
    [
        ("/meta/trace", '{"meta":{"trace":%s}}'),
        ("/meta/trace", '{"trace":[0],"meta":{"a":{"trace":1},"trace":%s},"z":{"meta":{"trace":2}}}'),
        ("/items/1/t", '{"items":[{"t":0},{"x":1,"t":%s},{"t":2}]}'),
        ("/items/1/t", '{"items":{"0":1,"1":{"t":%s}}}'),
        ("/items/1", '{"items":[null,%s]}'),
        ("/0", "[%s,1]"),
        ("/é", '{"\\u00e9x":1,"\\u00e9":%s}'),
        ("/日本/s", '{"\\u65e5\\u672c":{"s":%s}}'),
        ("/😀", '{"\\ud83d\\ude00":%s}'),
        ("/a~1b", '{"a\\/b":%s}'),
        ("/a~0b", '{"a~b":%s}'),
        ("/", '{"":%s}'),
        ("/a//b", '{"a":{"":{"b":%s}}}'),
        ("trace", '{"trace":%s,"_lg":[9,9,9,9,9]}'),
        (
            "/" + "/".join("abcdefghijklmnop"),
            "".join(f'{{"{name}":' for name in "abcdefghijklmnop") + "%s" + "}" * 16,
        ),
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_the_stamp_is_found_at_its_place(pointer: str, event: str, ensure_ascii: bool) -> None:
    place = place_named(pointer)
    members = {"type": "data", "id": "s1", "event": event.replace("%s", "[1,2,3,4,5]")}
    text = json.dumps(members, ensure_ascii=ensure_ascii).encode()
    assert (
        taken(text, place)
        == [[5, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]]
        == [by_python(text, reader(Stamps(place)))]
    )


@pytest.mark.parametrize(
    ("pointer", "event"),
    [
        ("/meta/trace", '{"meta":{"trace":%s},"meta":{}}'),
        ("/meta/trace", '{"meta":{},"meta":{"trace":%s}}'),
        ("/meta/trace", '{"meta":{"trace":%s},"meta":1}'),
        ("/meta/trace", '{"meta":{"trace":%s,"trace":1}}'),
        ("/meta/trace", '{"meta":[{"trace":%s}]}'),
        ("/meta/trace", '{"meta":null,"trace":%s}'),
        ("/meta/trace", '{"trace":%s}'),
        ("/items/1", '{"items":[%s]}'),
        ("/items/1", '{"items":[0,1,%s]}'),
        ("/items/01", '{"items":[0,%s]}'),
        ("/items/-", '{"items":[%s]}'),
        ("/a/a", '{"a":%s}'),
    ],
)
def test_without_exactly_one_stamp_at_its_place_the_event_is_left_to_python(pointer: str, event: str) -> None:
    text = messages.data("s1", event.replace("%s", "[1,2,3,4,5]"))
    assert taken(text, place_named(pointer)) == []


EVENT = '"event":"{\\"_lg\\":[1,2,3,4,5]}"'


@pytest.mark.parametrize(
    "text",
    [
        '{"type":"data","id":"s1",%s}',
        '{%s,"id":"s1","type":"data"}',
        ' {\n"type" : "data",\t"id": "s1" ,\r\n%s } ',
        '{"type":"data","id":"s1","more":{"id":"s2","type":["ka"],"event":null},%s,"n":1.5}',
        '{"é":"é","type":"data","id":"s1",%s}',
        '{"ids":"s2","type":"data","id":"s1",%s}',
    ],
)
def test_messages_may_be_written_in_any_way(text: str) -> None:
    message = text.replace("%s", EVENT).encode()
    assert (
        taken(message)
        == [[5, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]]
        == [by_python(message, reader(Stamps(DEFAULT)))]
    )


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"data","id":"s1","event":"{\\"_lg\\":[1,2,3,4,5],\\"a\\":\\"%s\\"}"}' % broken
        for broken in (
            b"\xff", b"\xc3", b"\xa9", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
            b"\xf5\x80\x80\x80", b"\xe2\x28\xa1", b"\xf0\x9f\x98", b"\\u00", b"\\ud83d", b"\\ud83d\\\\ude00",
            b"\\\\ud83d\\ude00", b"\\n", b"\\u000a", b"\\u0022", b"\\u005c", b"\\\\", b"\x00", b'"', b'\\\\"', b"\\x",
        )
    ],
)  # fmt: skip
def test_broken_text_is_left_to_python(text: bytes) -> None:
    assert taken(text) == []


@pytest.mark.parametrize(
    "written",
    [
        b"\xc3\xa9", b"\\u00e9", b"\\\\u00e9", b"\\ud83d\\ude00", b"\\\\ud83d\\\\ude00", b"\xf0\x9f\x98\x80",
        b"/", b"\\/", b"\\\\/", b"\\\\\\/", b"\\u0041", b"\\u002f", b'\\\\\\"', b"\\\\\\\\", b"\\\\n",
        b"\xef\xbf\xbf", b"\xf4\x8f\xbf\xbf", b"\xed\x9f\xbf", b"\\uffff", b"\\\\u0000", b"\x7f",
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"", b"x" * 13, b"x" * 14, b"x" * 15, b"x" * 40])
def test_each_spelling_of_a_character_is_taken(written: bytes, before: bytes) -> None:
    member = b'\\"%s\\":\\"%s\\"' % (before + written, before + written + before)
    text = b'{"type":"data","id":"s1","event":"{%s,\\"_lg\\":[1,2,3,4,5]}"}' % member
    assert (
        taken(text)
        == [[5, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]]
        == [by_python(text, reader(Stamps(DEFAULT)))]
    )


@given(st.lists(st.integers(-(2**63) + 1, 2**63 - 1), min_size=5, max_size=5))
@example([10**n for n in range(5)])
@example([10**n for n in range(5, 10)])
@example([12345678, 123456789, 1234567890123456, 12345678901234567, 1234567890123456789])
def test_numbers_of_any_length_are_read(stamp: list[int]) -> None:
    text = messages.data("s1", json.dumps({"_lg": stamp}))
    assert taken(text) == [[5, ARRIVAL_NS, READ_NS, 0, *stamp]]


def checked(event: str, place: Place = DEFAULT) -> str:
    """Return an event in which its checksum replaces `CRC`."""
    return event.replace("CRC", str(checksum(canonical(event.replace("CRC", "0"), place.tokens))))


@given(events(), STYLES, st.booleans())
def test_any_payload_with_a_checksum_is_taken_if_it_is_right_and_its_numbers_are_simple(
    event: tuple[Any, Place], style: dict[str, Any], right: bool
) -> None:
    content, place = event
    crc = checksum(canonical(json.dumps(content), place.tokens))
    STAMP.append(crc if right else crc ^ 1)
    text = messages.data("s1", json.dumps(content, **style))
    STAMP.pop()
    row = [5, ARRIVAL_NS, READ_NS, 0, *STAMP]
    python = by_python(text, reader(Stamps(place, integrity=True)))
    assert python == (row if right else None)
    # Only Python knows the canonical form of some numbers, so the fast path may leave the event to Python.
    assert taken(text, place, integrity=True) in ([], [row] if right else [])


@pytest.mark.parametrize(
    "event",
    [
        '{"_lg":[1,2,3,4,5,CRC],"pad":"xx"}',
        '{"b":1,"_lg":[1,2,3,4,5,CRC],"a":2,"B":3,"ab":4,"a b":5,"":6,"é":7,"日本":8,"😀":9}',
        '{ "z" : { "y" : [ 1 , { "x" : [ ] , "w" : { } } ] , "b" : null } ,\n"_lg" : [1,2,3,4,5, CRC ],"a" : true }',
        '{"_lg":[1,2,3,4,5,CRC],"n":[0,-1,123456789012345678,0.5,-0.25,19.99,19.90,20.0,-3.000]}',
        '{"_lg":[1,2,3,4,5,CRC],"n":[0.0,0.0001,12345678.1234567,100.10,9.99999999999999]}',
        '{"_lg":[1,2,3,4,5,CRC],"t":"\\u00e9\\ud83d\\ude00\\/\\b\\f\\n\\r\\t\\u0000"}',
        '{"_lg":[1,2,3,4,5,CRC],"t":"\\u0008\\u001f\\u007f\\u0022\\u005c\\\\\\" x"}',
        '{"\\u0062":1,"_lg":[1,2,3,4,5,CRC],"a":false}',
        '{"_lg":[1,2,3,4,5,CRC],"l":[[],[[]],{"a":[{"c":1,"b":2}]}]}',
    ],
)
@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_these_events_with_a_checksum_are_taken(event: str, ensure_ascii: bool) -> None:
    members = {"type": "data", "id": "s1", "event": checked(event)}
    text = json.dumps(members, ensure_ascii=ensure_ascii).encode()
    row = [5, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]
    assert by_python(text, reader(Stamps(DEFAULT, integrity=True))) == row
    assert taken(text, integrity=True) == [row]


@pytest.mark.parametrize(
    "event",
    [
        '{"_lg":[1,2,3,4,5]}',
        '{"_lg":[1,2,3,4,5,6]}',
        '{"_lg":[1,2,3,4,5,-1]}',
        '{"_lg":[1,2,3,4,5,CRC],"a":1,"a":1}',
        '{"_lg":[1,2,3,4,5,CRC],"a":1e5}',
        '{"_lg":[1,2,3,4,5,CRC],"a":-0}',
        '{"_lg":[1,2,3,4,5,CRC],"a":-0.0}',
        '{"_lg":[1,2,3,4,5,CRC],"a":0.00001}',
        '{"_lg":[1,2,3,4,5,CRC],"a":0.1234567890123456}',
        '{"_lg":[1,2,3,4,5,CRC],"a":1234567890123456.5}',
        '{"_lg":[1,2,3,4,5,CRC],"a":1234567890123456789}',
        '{"_lg":[1,2,3,4,5,CRC],"a\\n":1}',
        '{"_lg":[1,2,3,4,5,CRC],"a":"' + "x" * 17_000 + '"}',
        '{"_lg":[1,2,3,4,5,CRC],' + ",".join(f'"{n}":1' for n in range(200)) + "}",
    ],
)
def test_these_events_with_a_checksum_are_left_to_python(event: str) -> None:
    assert taken(messages.data("s1", checked(event)), integrity=True) == []


@pytest.mark.parametrize("integrity", [False, True])
def test_all_frames_of_a_burst_are_taken(integrity: bool) -> None:
    stamps = Stamps(place_named("/meta/trace"), integrity)
    stamping = Stamping(stamps)
    body = '{"user":{"name":"Zoë","tags":["a\\n",null]},"price":19.99,"n":%d}'
    sent = [
        stamping.event(1, 2, number, 4, 5, stamping.whole(*split(body % number, stamps.place.tokens)))
        for number in range(20)
    ]
    fast_path, rows = new_fast_path(stamps)
    burst = b"".join(frames.text_frame(messages.data("s12", str(event))) for event in sent)
    assert fast_path.take_frames(burst, ARRIVAL_NS, READ_NS, 7, 3) == len(burst)
    uncertain = [7] * 19 + [3]
    assert rows_in(rows) == [
        [-1, ARRIVAL_NS, READ_NS, uncertain[number], 1, 2, number, 4, 5] for number in range(20)
    ]


def test_with_one_subscription_only_every_message_is_an_event() -> None:
    rows = native.Rows(9, 4)
    whole = native.Template("text", ("event",))
    fast_path = native.TemplateFastPath(rows, ("meta", "t"), whole, native.TEXT_FRAMES, only=6)
    event = frames.text_frame(b'{"a":"\\n\\u00e9\\"",\n"meta":{"t":[1,2,3,4,5]}} ')
    other = frames.text_frame(messages.data("s1", '{"meta":{"t":[1,2,3,4,5]}}'))
    assert fast_path.take_frames(event + other, ARRIVAL_NS, READ_NS) == len(event)
    assert rows_in(rows) == [[6, ARRIVAL_NS, READ_NS, 0, 1, 2, 3, 4, 5]]
    with pytest.raises(OverflowError):
        native.TemplateFastPath(rows, ("meta", "t"), whole, native.TEXT_FRAMES, only=2**63)


@pytest.mark.parametrize("tokens", [(), ("a",) * 17, ('"',), ("\\",), ("a\n",)])
def test_a_place_that_the_fast_path_cannot_find_is_refused(tokens: tuple[str, ...]) -> None:
    if tokens:
        assert native_place(Stamps(Place("pointer", "/" + "/".join(tokens)))) is None
    with pytest.raises(ValueError, match="name"):
        native.DeliveryFastPath(native.Rows(9, 4), tokens)


def test_only_names_are_a_place() -> None:
    assert native_place(Stamps(Place("member", "\ud800"))) is None
    with pytest.raises(UnicodeEncodeError):
        native.DeliveryFastPath(native.Rows(9, 4), ("\ud800",))
    untyped: Any = native.DeliveryFastPath
    with pytest.raises(TypeError):
        untyped(native.Rows(9, 4), (1,))


def test_stamps_beside_the_event_have_no_native_place() -> None:
    assert Stamping(Stamps(Place("header", "trace"))).native_place is None
    assert Stamping(Stamps(integrity=True)).native_place == NativePlace(("_lg",), checked=True)
    assert Stamping(Stamps(Place("pointer", "/a/0/b~1c"))).native_place == NativePlace(
        ("a", "0", "b/c"), checked=False
    )
