"""Test checksums of events: equal for equal values however they are written, different for any other."""

import json
from typing import Any

import pytest
from hypothesis import assume, given

from loadgen.payloads.integrity import canonical_bytes, checksum, decoded
from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Stamping
from tests.payloads.test_place import BODIES, STAMP, VALUES

TRACE = Stamping(Stamps(Place("pointer", "/meta/trace"), integrity=True))


def whole(value: Any) -> Any:
    """Return a value as another JSON writer may write it: whole floats as integers, members reordered."""
    if isinstance(value, dict):
        return {name: whole(value[name]) for name in reversed(value)}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def same(one: Any, other: Any) -> bool:
    """Return whether two JSON values are equal; unlike in Python, true and 1 differ in JSON."""
    if isinstance(one, bool) or isinstance(other, bool) or one is None or other is None:
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or (
        isinstance(one, str) and isinstance(other, str) and one == other
    )


def canonical(value: Any, **how: Any) -> bytes:
    return canonical_bytes(decoded(json.dumps(value, **how)))


@given(VALUES)
def test_whitespace_escapes_order_and_the_form_of_numbers_change_nothing(value: Any) -> None:
    first = canonical(value)
    assert canonical(value, indent=3, ensure_ascii=False) == first
    assert canonical(whole(value), separators=(",", ":")) == first
    assert canonical(json.loads(first)) == first


@given(VALUES, VALUES)
def test_other_values_are_others(one: Any, other: Any) -> None:
    assume(not same(one, other))
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1.0,"b":-0.0}', '{"b":0,"a":1}'),
        ("1e3", "1000"),
        ("1E+2", "100.0"),
        (r'"é\/"', '"é/"'),
        ("0.10", "0.1"),
        ("1e21", "1000000000000000000000"),
    ],
)
def test_two_ways_to_write_one_value(one: str, other: str) -> None:
    assert canonical_bytes(decoded(one)) == canonical_bytes(decoded(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("9007199254740993", "9007199254740992"),
        ("1", "true"),
        ("null", "0"),
        ('"1"', "1"),
        ("1e400", "1e401"),
        ("1e400", "null"),
        ('{"a":null}', "{}"),
        ("[1,2]", "[2,1]"),
        ('"a"', '"a "'),
    ],
)
def test_two_values(one: str, other: str) -> None:
    assert canonical_bytes(decoded(one)) != canonical_bytes(decoded(other))


@given(BODIES, BODIES)
def test_an_event_with_another_body_and_our_stamp_is_altered(
    sent: dict[str, Any], found: dict[str, Any]
) -> None:
    sent.pop("meta", None)
    found.pop("meta", None)
    members = json.dumps(sent)[1:-1]
    event = TRACE.event(*STAMP, TRACE.padded(1, members))
    assert isinstance(event, str)
    meta = json.loads(event)["meta"]
    rewritten = json.dumps({**found, "meta": meta})
    before, after = (canonical_bytes(decoded(json.dumps(each))) for each in (sent, found))
    assert TRACE.read(rewritten) == (STAMP, checksum(before) != checksum(after))
    assert (before == after) == same(sent, found)
