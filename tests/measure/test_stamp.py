import enum
import json
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.stamp import PayloadError, decode_event, encode_event, encode_members

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)


@given(st.tuples(INT64, INT64, INT64, INT64, INT64), st.integers(0, 300_000))
def test_a_stamp_survives_the_journey(stamp: tuple[int, int, int, int, int], size: int) -> None:
    assert decode_event(encode_event(*stamp, size)).stamp == stamp


@given(st.integers(150, 5_000), st.integers(0, 10**9))
def test_an_event_has_exactly_the_size_asked_for_where_the_stamp_leaves_room(
    size: int, sequence: int
) -> None:
    event = encode_event(
        2**31 - 1, 999_999, sequence, 1_700_000_000_000_000_000, 1_700_000_000_000_000_001, size
    )
    assert len(event.encode()) == size
    json.loads(event)


def test_an_event_that_is_too_small_for_its_stamp_keeps_its_natural_length() -> None:
    event = encode_event(1, 2, 3, 4, 5, 0)
    assert event == '{"_lg":[1,2,3,4,5]}'


@given(st.dictionaries(st.text(), st.integers(0, 1000) | st.text(), min_size=1))
def test_a_payload_of_the_users_own_rides_along(payload: dict[str, int | str]) -> None:
    payload.pop("_lg", None)
    payload.pop("pad", None)
    event = encode_event(1, 2, 3, 4, 5, 400, encode_members(payload))
    decoded = json.loads(event)
    assert {key: decoded[key] for key in payload} == payload
    assert decode_event(event).stamp == (1, 2, 3, 4, 5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["_lg", "pad"]) | st.text(max_size=5), JSON), st.integers(0, 400))
def test_a_payload_arrives_as_it_is_or_is_refused(payload: dict[str, Any], size: int) -> None:
    try:
        members = encode_members(payload)
    except PayloadError:
        return
    event = encode_event(1, 2, 3, 4, 5, size, members)
    assert decode_event(event).stamp == (1, 2, 3, 4, 5)
    decoded = json.loads(event)
    assert {key: value for key, value in decoded.items() if key not in ("_lg", "pad")} == payload


@pytest.mark.parametrize(
    "text", ['{"x":1}', "[1,2]", '"hello"', '{"_lg":[1,2,3]}', '{"_lg":"x"}', "nonsense"]
)
def test_what_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_event(text)


class Name(enum.Enum):
    STAMP = "_lg"


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ([1], "returned a list, and must return a mapping or None"),
        ("text", "returned a str, and must return a mapping or None"),
        (7, "returned an int, and must"),
        (object(), "returned an object, and must"),
        ({"x": float("nan")}, "returned nan, which JSON cannot hold"),
        ({"x": [1, {"y": (2.0, float("-inf"))}]}, "returned -inf, which JSON cannot hold"),
        ({"x": b"abc"}, "returned bytes, which JSON cannot hold: decode them"),
        ({"x": 10**5_000}, "returned what JSON cannot hold: "),
        ({"x": object()}, "returned what JSON cannot hold: TypeError"),
        ({"x": "\ud800"}, "returned what JSON cannot hold: Unicode"),
        ({(1, 2): 3}, "returned what JSON cannot hold"),
        ({"_lg": [1]}, "returned a member called '_lg', which the harness writes itself"),
        ({Name.STAMP: 1}, "returned a member called '_lg'"),
        ({"pad": ""}, "returned a member called 'pad'"),
    ],
)
def test_what_cannot_go_into_an_event_is_refused_in_words(payload: Any, sentence: str) -> None:
    with pytest.raises(PayloadError) as caught:
        encode_members(payload)
    assert str(caught.value).startswith(sentence)


def test_a_payload_that_holds_itself_is_refused() -> None:
    payload: dict[str, Any] = {}
    payload["me"] = payload
    with pytest.raises(PayloadError, match="returned what JSON cannot hold: RecursionError"):
        encode_members(payload)


@pytest.mark.parametrize(
    ("payload", "members"),
    [
        (None, ""),
        ({}, ""),
        ({"inner": {"_lg": 1, "pad": None}}, '"inner":{"_lg":1,"pad":null}'),
        (MappingProxyType({"a": 1}), '"a":1'),
        ({1: "one"}, '"1":"one"'),
        ({"x": 2**70}, f'"x":{2**70}'),
    ],
)
def test_what_json_can_hold_is_taken(payload: Any, members: str) -> None:
    assert encode_members(payload) == members


PAYLOADS = st.lists(st.none() | st.dictionaries(st.sampled_from("ab"), st.text(max_size=5)), max_size=5)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_padding_begins_with_the_byte_that_leaves_room_for_it(more: int) -> None:
    padded = '{"_lg":[1,2,3,4,5],"pad":""}'
    event = encode_event(1, 2, 3, 4, 5, len(padded) + more)
    assert event == ('{"_lg":[1,2,3,4,5]}' if more < 0 else padded.replace('""', f'"{"x" * more}"'))
