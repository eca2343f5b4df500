"""Test which deliveries of protocol files the C part can process, and what they are compiled into for it."""

from typing import Any

import pytest

from loadgen import native
from loadgen.protocol.generic.description import ChannelForm, Delivery, Description, Messages
from loadgen.protocol.generic.lanes import identity_in, names_in, parts_of, template_of
from loadgen.protocol.generic.patterns import JsonPattern, TextPattern
from loadgen.protocol_file.describe import identity_of


def text(written: str, messages: Messages = "text") -> Description:
    return Description(
        "x", ChannelForm(), "{target}", Delivery(TextPattern(written), identity_of(written)), messages
    )


def json(at: dict[str, str], when: dict[str, Any] | None = None) -> Description:
    identity: Any = next((name for name in ("id", "number", "channel") if name in at), None)
    when = when or {}
    deliver = Delivery(JsonPattern(when, at), identity, when, at)
    return Description("x", ChannelForm(), "{target}", deliver, "json")


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        ("{event}", ("event",)),
        ("E {id} {channel} {event}", (b"E ", "key", b" ", "word", b" ", "event")),
        ("E {number}:{channel}\n{event}.", (b"E ", "digits", b":", "key", b"\n", "event", b".")),
        ("{number}|{event}", ("number", b"|", "event")),
        ("a{{}}{event}", (b"a{{}}", "event")),
        # A text could match these patterns in two ways, so they are not compiled (None).
        ("{id}:{event}", None),
        ("{id}{event}", None),
        ("{event}{id}", None),
        ("{event} {id}", None),
        ("{*} {event}", None),
        ("{number}0{event}", None),
        ("{event} {*}", None),
        ("{reason} {event}", None),
    ],
)
def test_a_text_is_compiled_if_it_can_be_read_in_one_way(written: str, parts: Any) -> None:
    description = text(written)
    assert parts_of(description) == parts
    if native.available:
        assert (template_of(description) is None) == (parts is None)


@pytest.mark.parametrize(
    ("written", "parts"),
    [
        (
            "MSG {channel} {id} {bytes}\r\n{event}\r\n",
            (b"MSG ", "word", b" ", "key", b" ", "size", b"\r\n", "event", b"\r\n"),
        ),
        (
            "M {number} {bytes} {*}\r\n{event}",
            (b"M ", "number", b" ", "size", b" ", "rest", b"\r\n", "event", b"\r\n"),
        ),
        ("{event}", ("event", b"\r\n")),
        ("{channel} {event};\r\n", ("key", b" ", "event", b";\r\n")),
        ("M {*} {bytes}\r\n{event}\r\n", None),
        ("M{id}{bytes}\r\n{event}\r\n", None),
    ],
)
def test_a_line_is_compiled_with_what_follows_it(written: str, parts: Any) -> None:
    assert parts_of(text(written, "lines")) == parts


def test_json_is_compiled_to_the_values_that_matter() -> None:
    description = json({"id": "/sub/id", "event": "/e", "reason": "/why"}, {"/t": "d", "/n": 3, "/z": None})
    members = (
        (b"t", b"d"), (b"n", 3), (b"z", "null"), (b"sub", ("object", ((b"id", "json_key"),))), (b"e", "json_event"),
    )  # fmt: skip
    assert parts_of(description) == ("object", members)
    assert parts_of(json({"number": "/4", "event_json": "/2/data"})) == (
        "list",
        ((2, ("object", ((b"data", "json_raw"),))), (4, "json_number")),
    )


@pytest.mark.parametrize(
    "description",
    [
        json({"id": "/id", "event": "/e"}, {"/ok": True}),
        json({"event_json": ""}),
        json({"id": "/a", "event": "/a"}),
        json({"id": "/a", "channel": "/b", "event": "/e"}),
        json({"id": "/a", "event": "/a/b"}),
        json({"id": "/1", "event": "/b"}),
    ],
)
def test_json_that_the_quick_decoder_cannot_read_is_not_compiled(description: Description) -> None:
    assert parts_of(description) is None


def test_a_template_beyond_what_the_native_part_knows_is_none() -> None:
    if not native.available:
        pytest.skip("the native receive path was not built")
    values = {f"/{place}m{number}": number for place in ("", "more/") for number in range(40)}
    description = json({"event": "/e"}, values)
    assert parts_of(description) is not None
    assert template_of(description) is None


def test_the_subscription_is_the_one_that_receiving_finds() -> None:
    # In a text pattern, the subscription is named by the id, else by the channel, else by the number. In a pattern for
    # lines, the file's `identity` says which of them names it.
    assert identity_in(text("{number} {channel} {event}")) == "channel"
    assert identity_in(text("{number} {channel} {event}", "lines")) == "number"
    assert identity_in(text("{event}")) is None
    numbers, channels, requests = {"s1": 4, "s2": 5}, {"/a": "s1", "/b": "s9"}, {1: "s2", 2: "s9"}
    assert dict(names_in("id", numbers, channels, requests)) == {"s1": 4, "s2": 5}
    assert dict(names_in("channel", numbers, channels, requests)) == {"/a": 4, "/b": None}
    assert dict(names_in("number", numbers, channels, requests)) == {"1": 5, "2": None}
    assert dict(names_in(None, numbers, channels, requests)) == {}
