"""Test the place of the stamp: it is read as it was written, and the rest of the event is unchanged."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.payloads.place import Place, PlaceError, index_of, pointer_tokens, split
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import NOT_OURS, Marked, Stamping

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(NAMES, VALUES, max_size=5)
STAMP = (7, 3, 12, 1_790_000_000_000_000_000, 1_790_000_000_000_000_123)


def without(value: Any, tokens: tuple[str, ...]) -> Any:
    """Return a body without the value at a place; objects on the path that become empty are removed too."""
    token, rest = tokens[0], tokens[1:]
    if isinstance(value, list):
        at = index_of(token)
        assert at is not None
        return [*value[:at], without(value[at], rest) if rest else "stamp", *value[at + 1 :]]
    others = {name: each for name, each in value.items() if name != token}
    if rest and token in value:
        inner = without(value[token], rest)
        if inner not in ({}, []):
            others[token] = inner
    return others


def has_room(value: Any, tokens: tuple[str, ...]) -> bool:
    if isinstance(value, dict):
        return len(tokens) == 1 or tokens[0] not in value or has_room(value[tokens[0]], tokens[1:])
    if isinstance(value, list):
        at = index_of(tokens[0])
        return at is not None and at < len(value) and (len(tokens) == 1 or has_room(value[at], tokens[1:]))
    return False


@st.composite
def places(draw: st.DrawFn) -> tuple[dict[str, Any], Place]:
    """Draw a body, and a place whose path often exists in the body."""
    body = draw(BODIES)
    tokens: list[str] = []
    inside: Any = body
    for _ in range(draw(st.integers(1, 3))):
        known: list[str] = []
        if isinstance(inside, dict):
            known = list(inside)
        elif isinstance(inside, list):
            known = [str(k) for k in range(len(inside))]
        token = draw(st.sampled_from(known) | NAMES if known else NAMES)
        tokens.append(token)
        at = index_of(token)
        if isinstance(inside, dict):
            inside = inside.get(token)
        else:
            inside = inside[at] if isinstance(inside, list) and at is not None and at < len(inside) else None
    if len(tokens) == 1 and draw(st.booleans()):
        return body, Place("member", tokens[0])
    return body, Place("pointer", "".join(f"/{t.replace('~', '~0').replace('/', '~1')}" for t in tokens))


@given(places(), st.booleans(), st.sampled_from([None, 2]), st.booleans())
def test_any_body_and_place_give_the_stamp_and_the_body_again(
    pair: tuple[dict[str, Any], Place], integrity: bool, indent: int | None, ascii_only: bool
) -> None:
    body, place = pair
    stamping = Stamping(Stamps(place, integrity))
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    if not has_room(body, place.tokens):
        with pytest.raises(PlaceError):
            split(text, place.tokens)
        return
    event = stamping.event(*STAMP, stamping.whole(*split(text, place.tokens)))
    assert isinstance(event, str)
    assert stamping.read(event) == (STAMP, False)
    # The stamp can be read even if the service has written the event anew, with its members in another order.
    assert stamping.read(json.dumps(json.loads(event), sort_keys=True)) == (STAMP, False)
    assert without(json.loads(event), place.tokens) == without(body, place.tokens)


def test_the_default_place_is_first_so_that_the_fast_path_takes_it() -> None:
    stamping = Stamping()
    event = stamping.event(*STAMP, stamping.whole(*split('{"text": "é", "_lg": 1}', ("_lg",))))
    assert event == f'{{"_lg":[{",".join(map(str, STAMP))}],"text":"é"}}'


@pytest.mark.parametrize(
    ("body", "pointer", "why"),
    [
        ("[1]", "/a", "the body is no object"),
        ('"text"', "/a", "the body is no object"),
        ('{"meta": "text"}', "/meta/trace", "its 'meta' is no object"),
        ('{"meta": {"a": 7}}', "/meta/a/b", "its 'a' is no object"),
        ('{"items": []}', "/items/0", "its 'items' is a list of 0 elements and has no '0'"),
        ('{"items": [1]}', "/items/-", "its 'items' is a list of 1 elements and has no '-'"),
        ('{"items": [1]}', "/items/0/a", "its '0' is no object"),
    ],
)
def test_a_body_without_room_says_why(body: str, pointer: str, why: str) -> None:
    with pytest.raises(PlaceError, match=why):
        split(body, pointer_tokens(pointer))


@pytest.mark.parametrize("pointer", ["", "meta", "/a~2", "/a~"])
def test_no_pointer(pointer: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError)):
        Place("pointer", pointer)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *[("header", name) for name in ("a b", "a\r\nb", "a:b", "é")],
        *[
            ("user_property", "a\x00"),
            ("member", "pad"),
            ("pointer", "/pad/a"),
            ("other", "a"),
            ("member", ""),
        ],
    ],
)
def test_no_place(kind: str, name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"kind": kind, "name": name}, Place)


@given(st.binary(), st.booleans())
def test_beside_the_body_any_bytes_can_travel(body: bytes, integrity: bool) -> None:
    stamping = Stamping(Stamps(Place("user_property", "lg"), integrity))
    event = stamping.event(*STAMP, stamping.content(body))
    assert isinstance(event, Marked)
    assert event.body == body
    assert stamping.read_beside(event.stamp, event.body) == (STAMP, False)
    assert stamping.read_beside(event.stamp, event.body + b"!").altered is integrity


@given(
    st.sampled_from([Place(), Place("member", "trace"), Place("pointer", "/a/b~1c"), Place("header", "Lg")]),
    st.booleans(),
    st.integers(1, 3000),
    st.sampled_from(["", '"k":1', '"text":"é"', '"a":{"x":[1]},"z":2.50']),
)
def test_padded_events_have_their_size(place: Place, integrity: bool, size: int, members: str) -> None:
    stamping = Stamping(Stamps(place, integrity))
    event = stamping.event(*STAMP, stamping.padded(size, members))
    if isinstance(event, Marked):
        assert stamping.read_beside(event.stamp, event.body) == (STAMP, False)
        text, body = event.body.decode(), event.body
    else:
        assert stamping.read(event) == (STAMP, False)
        text, body = event, event.encode()
    found = json.loads(text)
    if "pad" in found:
        # A checksum has up to ten digits, and padding leaves room for all ten.
        assert size - (9 if integrity and not place.beside else 0) <= len(body) <= size
    else:
        assert len(body) > size - len(',"pad":""') - (11 if integrity and not place.beside else 0)
    for name, value in json.loads(f"{{{members}}}").items():
        assert found[name] == value or (isinstance(value, dict) and value.items() <= found[name].items())


@pytest.mark.parametrize(
    "event",
    [
        "",
        "7",
        "null",
        "[]",
        "{}",
        '{"a":1}',
        '{"trace":1}',
        '{"trace":[1,2,3]}',
        '{"trace":"[1,2,3,4,5]"}',
        "\ud800",
    ],
)
@pytest.mark.parametrize(
    "place", [Place("member", "trace"), Place("pointer", "/trace/0"), Place("pointer", "/a/b")]
)
@pytest.mark.parametrize("integrity", [False, True])
def test_anything_else_is_not_ours(event: str, place: Place, integrity: bool) -> None:
    with pytest.raises(NOT_OURS):
        Stamping(Stamps(place, integrity)).read(event)
