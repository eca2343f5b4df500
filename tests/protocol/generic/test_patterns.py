import json
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.generic.frames import TemplateError
from loadgen.protocol.generic.patterns import (
    Found,
    JsonPattern,
    PointerError,
    Quick,
    Scalar,
    TextPattern,
    pointer_tokens,
    quick,
    regex,
    resolve,
)

others = st.sampled_from([None, True, 0, 5, "x", "", "é", {}, {"a": 1}, [], ["x", 2]])


def test_a_text_pattern_takes_the_values_out() -> None:
    pattern = TextPattern("MSG {channel} {id} {number} {*}: {reason}")
    found = pattern.match(b"MSG a.b s1 17 (c) x: because {of} it")
    assert found == Found(id="s1", number=17, channel="a.b", reason="because {of} it")
    assert pattern.match(b"MSG a.b s1 x (c) x: because") is None
    assert pattern.match(b"XMSG a.b s1 17 (c) x: because") is None


def test_what_stands_in_a_text_pattern_stands_for_itself() -> None:
    assert TextPattern("+OK (a.b)*").match(b"+OK (a.b)*") == Found()
    assert TextPattern("+OK (a.b)*").match(b"+OK (aXb)*") is None


@pytest.mark.parametrize("written", ["{id} {id}", "{events}", "{env:SECRET}", "{Reason}"])
def test_a_placeholder_that_cannot_be_in_a_pattern_is_refused(written: str) -> None:
    with pytest.raises(TemplateError):
        regex(written)


@pytest.mark.parametrize("pointer", ["a", "type/x", "/a~2b", "/~"])
def test_what_is_no_json_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(PointerError, match="is not a JSON pointer"):
        pointer_tokens(pointer)


# The example of RFC 6901, section 5.
RFC = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", RFC),
        ("/foo", RFC["foo"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_pointers_lead_where_the_rfc_says(pointer: str, value: object) -> None:
    assert resolve(RFC, pointer_tokens(pointer)) == value


def test_a_condition_is_of_the_same_type() -> None:
    pattern = JsonPattern({"/ok": True}, {})
    assert pattern.match({"ok": True}) == Found()
    assert pattern.match({"ok": 1}) is None
    assert JsonPattern({"/code": 1}, {}).match({"code": True}) is None
    assert JsonPattern({"/x": None}, {}).match({}) is None
    assert JsonPattern({"/x": None}, {}).match({"x": None}) == Found()


def test_a_reason_may_be_missing_and_of_any_form_but_an_id_may_not() -> None:
    pattern = JsonPattern({"/type": "error"}, {"id": "/id", "reason": "/errors"})
    assert pattern.match({"type": "error", "id": "s1"}) == Found(id="s1")
    assert pattern.match({"type": "error", "id": "s1", "errors": [{"m": 1}]}) == Found(
        id="s1", reason='[{"m":1}]'
    )
    assert pattern.match({"type": "error"}) is None
    assert pattern.match({"type": "error", "id": 4}) is None


SHAPES: list[tuple[dict[str, Scalar], dict[str, str]]] = [
    ({"/type": "data"}, {"id": "/id", "event": "/event"}),
    ({"/type": "next"}, {"id": "/id", "event_json": "/payload/data/event"}),
    ({"/3": "phx", "/4/ok": 1}, {"channel": "/2", "event": "/4/body"}),
    ({"/0/a": None}, {"number": "/1", "event": "/0/b"}),
    ({}, {"event": "/push/pub/data", "channel": "/push/channel"}),
    ({"/a~1b": "x"}, {"event": "/m~0n"}),
]


@pytest.mark.parametrize(("when", "at"), SHAPES)
@settings(deadline=None)
@given(data=st.data())
def test_the_quick_decoder_takes_nothing_that_the_pattern_does_not_and_finds_the_same(
    when: dict[str, Scalar], at: dict[str, str], data: st.DataObject
) -> None:
    """Draw documents that nearly match the pattern: the value at each JSON pointer is right, wrong or missing."""
    document = None
    for pointer, right in [*when.items(), *((each, None) for each in at.values())]:
        value = data.draw(_right_or_other(right))
        if data.draw(_NINE):
            document = _placed(document, pointer_tokens(pointer), value)
    message = json.dumps(document).encode()
    decode = _quick(json.dumps([when, at]))
    assert decode is not None
    try:
        key, event = decode.take(decode.decode(message))
    except (msgspec.MsgspecError, RecursionError):
        return
    found = JsonPattern(when, at).match(json.loads(message))
    assert found is not None
    assert found.event is not None
    assert key == (found.id if "id" in at else found.channel if "channel" in at else found.number)
    if "event_json" in at:
        assert json.loads(str(event, "utf-8")) == json.loads(found.event)
    else:
        assert event == found.event


@pytest.mark.parametrize(("when", "at"), SHAPES)
def test_the_quick_decoder_takes_a_delivery(when: dict[str, Scalar], at: dict[str, str]) -> None:
    document = None
    for pointer, value in when.items():
        document = _placed(document, pointer_tokens(pointer), value)
    for name, pointer in at.items():
        document = _placed(document, pointer_tokens(pointer), 7 if name == "number" else "x")
    found = quick(when, at)
    assert found is not None
    decode, take = found
    key, event = take(decode(json.dumps(document).encode()))
    assert key == (7 if "number" in at else "x" if at.keys() & {"id", "channel"} else None)
    assert (str(event, "utf-8") if "event_json" in at else event) == ('"x"' if "event_json" in at else "x")


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ({"/ok": True}, {"event": "/e"}),
        ({"/a": "x"}, {"event_json": ""}),
        ({"/a": "x"}, {"event": "/a/b"}),
        ({"/a": "x", "/0": "y"}, {"event": "/b"}),
        ({"/a": "x"}, {"event": "/a"}),
        ({}, {"event": "/999999"}),
    ],
)
def test_what_the_quick_decoder_cannot_tell_is_left_to_the_pattern(
    when: dict[str, Scalar], at: dict[str, str]
) -> None:
    assert quick(when, at) is None


_NINE = st.integers(0, 9)


@lru_cache(typed=True)
def _right_or_other(right: Scalar) -> st.SearchStrategy[Any]:
    return st.just(right) | others


@cache
def _quick(shape: str) -> Quick | None:
    return quick(*json.loads(shape))


def _placed(document: Any, tokens: Sequence[str], value: Any) -> Any:
    if not tokens:
        return value
    token, *rest = tokens
    if token.isdecimal() and not isinstance(document, dict):
        document = list(document or []) if isinstance(document, list) or document is None else [document]
        document += [None] * (int(token) + 1 - len(document))
        document[int(token)] = _placed(document[int(token)], rest, value)
        return document
    document = dict(document) if isinstance(document, dict) else {}
    document[token] = _placed(document.get(token), rest, value)
    return document
