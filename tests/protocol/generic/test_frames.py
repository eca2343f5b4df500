import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.generic.frames import Frame, TemplateError, Written, check, filled, names

KNOWN = ("id", "number", "channel", "event", "event_json", "events", "events_json", "bytes")
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None)
@given(texts, texts, texts)
def test_whatever_the_values_are_a_json_template_gives_json_with_them_in_it(
    channel: str, event: str, id_: str
) -> None:
    frame = Frame(
        {
            "type": "publish",
            "id": "{id}",
            "n": "{number}",
            "at": "x/{channel}",
            "list": ["{event}", 1, None, True],
        },
        {},
    )
    assert json.loads(frame.render(id_, 7, channel, [event])) == {
        "type": "publish",
        "id": id_,
        "n": 7,
        "at": f"x/{channel}",
        "list": [event, 1, None, True],
    }


@settings(deadline=None)
@given(st.lists(texts, min_size=1, max_size=5))
def test_a_batch_is_a_list_of_strings(events: list[str]) -> None:
    assert json.loads(Frame({"events": "{events}"}, {}).render(events=events)) == {"events": events}


def test_events_can_be_json_themselves() -> None:
    frame = Frame({"one": "{event_json}", "all": "{events_json}"}, {})
    assert json.loads(frame.render(events=['{"a":1}', "[2]"])) == {"one": {"a": 1}, "all": [{"a": 1}, [2]]}


@settings(deadline=None)
@given(texts)
def test_a_text_template_says_how_many_bytes_the_event_has(event: str) -> None:
    sent = Frame("PUB {channel} {bytes}\r\n{event}\r\n", {}).render(channel="a.b", events=[event])
    head, _, rest = sent.partition(b"\r\n")
    assert head == b"PUB a.b %d" % (len(rest) - 2)
    assert rest == event.encode() + b"\r\n"


def test_braces_around_anything_but_a_name_are_braces() -> None:
    written = 'CONNECT {"verbose":true,"n":{},"x":{ "id" : 1}} 100%\r\n'
    check(written, ())
    assert Frame(written, {}).render() == written.encode()


def test_values_of_the_environment_are_filled_in_once_and_escaped_in_json() -> None:
    environment = {"TOKEN": 'a"b{id}%'}
    assert Frame("AUTH {env:TOKEN}", environment).render("x") == b'AUTH a"b{id}%'
    assert json.loads(Frame({"t": "Bearer {env:TOKEN}"}, environment).render("x")) == {"t": 'Bearer a"b{id}%'}
    assert 'a"b' not in repr(Frame("AUTH {env:TOKEN}", environment))


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("SUB {chanel}", r"{chanel}, which is none here; known are {id}, {number}, {channel}"),
        ({"a": ["{Id}"]}, r"{Id}, which is none here"),
        ({"a": "x{events}"}, r"{events} within a string"),
    ],
)
def test_a_mistake_in_a_template_is_told(written: Written, says: str) -> None:
    with pytest.raises(TemplateError, match=says.replace("{", r"\{").replace("}", r"\}")):
        check(written, KNOWN)


def test_names_are_found_wherever_they_stand() -> None:
    written: Written = {"a": ["{id}", {"b": "x{env:KEY}{channel}"}], "c": 1}
    assert list(names(written)) == [("id", False), ("KEY", True), ("channel", False)]


def test_a_text_keeps_what_has_no_value() -> None:
    assert (
        filled("{target}/sub/{channel}?t={env:T}", {"target": "ws://h"}, {})
        == "ws://h/sub/{channel}?t={env:T}"
    )
