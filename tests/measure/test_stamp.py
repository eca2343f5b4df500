import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.stamp import decode_event, encode_batch, encode_event

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
    event = encode_event(1, 2, 3, 4, 5, 400, payload)
    decoded = json.loads(event)
    assert {key: decoded[key] for key in payload} == payload
    assert decode_event(event).stamp == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    "text", ['{"x":1}', "[1,2]", '"hello"', '{"_lg":[1,2,3]}', '{"_lg":"x"}', "nonsense"]
)
def test_what_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_event(text)


PAYLOADS = st.lists(st.none() | st.dictionaries(st.sampled_from("ab"), st.text(max_size=5)), max_size=5)


@given(st.integers(0, 10**9), st.integers(0, 400), PAYLOADS)
def test_a_batch_is_what_its_events_are_one_by_one(
    sequence: int, size: int, payloads: list[dict[str, str] | None]
) -> None:
    assert encode_batch(1, 2, sequence, 3, 4, size, payloads) == [
        encode_event(1, 2, sequence + k, 3, 4, size, payload) for k, payload in enumerate(payloads)
    ]
