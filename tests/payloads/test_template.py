"""Test payload templates: the values of placeholders, and the messages about mistakes."""

import json
import re
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.payloads.place import Place
from loadgen.payloads.plans import Stamps
from loadgen.payloads.stamping import Stamping
from loadgen.payloads.template import (
    NOW_MARK,
    Context,
    PayloadTemplateError,
    binary,
    compiled_json,
    compiled_text,
    iso,
)
from tests.payloads.test_place import STAMP, VALUES

CELLS: dict[str, Any] = {
    "talk.n": 7,
    "talk.deep": {"a": [1, None]},
    "talk.text": 'a "b" \\ é\n',
    "talk.no": None,
}


def filled(written: Any, sequence: int = 3, seed: str = "1") -> Any:
    context = Context(seed, CELLS.__getitem__)
    context.sequence = sequence
    before, after = compiled_json(written, None).texts(context)
    return json.loads(before + after)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("{talk.n}", 7),
        ("n is {talk.n}", "n is 7"),
        ("{talk.deep}", {"a": [1, None]}),
        ("deep {talk.deep}", 'deep {"a":[1,null]}'),
        ("{talk.text}", 'a "b" \\ é\n'),
        ("<{talk.text}>", '<a "b" \\ é\n>'),
        ("{talk.no}", None),
        ("no {talk.no}", "no null"),
        ("{seq}", 3),
        ("{ seq }", 3),
        ("event {seq}", "event 3"),
        ("{{seq}}", "{seq}"),
        ("{{{seq}}}", "{3}"),
        ("}}{{", "}{"),
        ({"random": ["one"]}, "one"),
        ({"random": "x"}, {"random": "x"}),
        ({"random": ["a"], "other": 1}, {"random": ["a"], "other": 1}),
        ({"random": [{"n": "{talk.n}"}]}, {"n": 7}),
        ([1, 2.5, True, None, ""], [1, 2.5, True, None, ""]),
        ({"{seq}": 1}, {"{seq}": 1}),
        ({}, {}),
    ],
)
def test_placeholders(written: Any, value: Any) -> None:
    assert filled(written) == value
    assert filled({"a": {"b": [written]}}) == {"a": {"b": [value]}}


@given(VALUES.filter(lambda value: not re.search(r"[{}]|random", json.dumps(value))))
def test_without_placeholders_a_template_is_itself(value: Any) -> None:
    assert filled(value) == value


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_braces_can_be_written(text: str) -> None:
    assert filled(text.replace("{", "{{").replace("}", "}}")) == text


def test_draws_follow_from_the_seed_and_differ_from_event_to_event() -> None:
    template = compiled_json({"id": "{uuid}", "mood": {"random": ["good", "bad"]}}, None)

    def events(seed: str) -> list[Any]:
        context = Context(seed, CELLS.__getitem__)
        return [json.loads("".join(template.texts(context))) for _ in range(200)]

    one, again, other = events("a"), events("a"), events("b")
    assert one == again
    assert one != other
    ids = [UUID(each["id"]) for each in one]
    assert len(set(ids)) == 200
    assert {each.version for each in ids} == {4}
    # Half of 200 draws are expected; allow six standard deviations of a fair coin.
    assert 58 <= sum(each["mood"] == "good" for each in one) <= 142


@pytest.mark.parametrize("integrity", [False, True])
@pytest.mark.parametrize("place", [Place(), Place("pointer", "/meta/trace"), Place("user_property", "lg")])
def test_now_is_the_sending_time(place: Place, integrity: bool) -> None:
    stamping = Stamping(Stamps(place, integrity))
    template = compiled_json({"at": "{now}", "said": "at {now}!"}, None if place.beside else place.tokens)
    before, after = template.texts(Context("1", CELLS.__getitem__))
    body = (
        stamping.content((before + after).encode(), timed=template.timed)
        if place.beside
        else stamping.whole(before, after, timed=template.timed)
    )
    for sent_ns in (1_790_000_000_123_456_789, 1_790_000_001_000_000_000):
        event = stamping.event(*STAMP[:4], sent_ns, body)
        text = event if isinstance(event, str) else event.body.decode()
        found = json.loads(text)
        assert found["said"] == f"at {found['at']}!"
        assert datetime.fromisoformat(found["at"]).timestamp() == sent_ns // 1_000_000 / 1000
        assert NOW_MARK not in text
        read = (
            stamping.read(event) if isinstance(event, str) else stamping.read_beside(event.stamp, event.body)
        )
        assert read == ((*STAMP[:4], sent_ns), False)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert iso(1_790_000_000_005_999_999) == "2026-09-21T14:13:20.005Z"


@pytest.mark.parametrize(
    ("written", "path", "why"),
    [
        ({"a": "x {"}, ("a",), "has a '{' without its partner; a brace itself is written '{{' or '}}'"),
        ({"a": ["x}"]}, ("a", 0), "has a '}' without its partner"),
        ({"a": {"b": "{}"}}, ("a", "b"), "has '{}' with no name in it"),
        ({"a": {"random": []}}, ("a", "random"), "is an empty list"),
        ({"a": datetime(2026, 1, 1)}, ("a",), "has a value of type datetime, which JSON cannot hold"),
        ({1: "a"}, (), "has a member 1 whose name is no text"),
    ],
)
def test_mistakes(written: Any, path: tuple[str | int, ...], why: str) -> None:
    with pytest.raises(PayloadTemplateError, match=re.escape(why)) as caught:
        compiled_json(written, None)
    assert caught.value.path == path


def test_a_template_cannot_be_nested_without_end() -> None:
    deep: Any = "end"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(PayloadTemplateError, match="nested deeper"):
        compiled_json({"a": deep}, None)


@pytest.mark.parametrize(
    ("written", "pointer", "why"),
    [
        ([1], ("a",), "the payload is no object"),
        ("{talk.deep}", ("a",), "the payload is no object"),
        ({"meta": "text"}, ("meta", "trace"), "its 'meta' is no object"),
        ({"meta": "{talk.deep}"}, ("meta", "trace"), "its 'meta' is no object"),
        ({"meta": {"random": [{}]}}, ("meta", "trace"), "its 'meta' is no object"),
        ({"items": []}, ("items", "0"), "it is a list of 0 and has no '0'"),
    ],
)
def test_no_room_for_the_stamp(written: Any, pointer: tuple[str, ...], why: str) -> None:
    with pytest.raises(PayloadTemplateError, match=re.escape(why)):
        compiled_json(written, pointer)


def test_binary_payloads() -> None:
    context = Context("1", {"frames.image": "3q2+7w=="}.__getitem__)
    text = "".join(compiled_text("{frames.image}").texts(context))
    assert binary("base64", text) == b"\xde\xad\xbe\xef" == binary("hex", "de ad BEEF")
    for kind, wrong in (("hex", "abc"), ("hex", "zz"), ("base64", "a"), ("base64", "€")):
        with pytest.raises(ValueError, match="characters that are no"):
            binary(kind, wrong)
