"""Test messages whose stamp is in a header beside the event, as in NATS. Reads may end anywhere in a message."""

# ruff: noqa: E501 - each message stays on one line, so that a search finds it

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import protocol_file
from loadgen.config.problems import ScenarioError
from loadgen.payloads.stamping import Marked
from loadgen.protocol import unreadable
from loadgen.protocol.generic.session import GenericSession
from tests.protocol.generic.test_session import Told, known


class Marks(Told):
    """A session handler that also keeps the deliveries whose stamp is in a header beside the event."""

    def on_marked(self, subscription: str, event: Marked, arrival_ns: int, read_ns: int) -> None:
        self.append(("marked", subscription, event.body, event.stamp))


def live(name: str | None = "Lg") -> tuple[GenericSession, Marks]:
    service, told = known("nats"), Marks()
    if name is not None:
        service.carry_stamps(name)
    session = service.session(told)
    session.opening()
    session.receive(b"INFO {}\r\n", 0, 0)
    [(_, connect)] = told.take()
    assert b'"headers":true' in connect
    session.receive(b"+OK\r\n", 0, 0)
    told.take()
    return session, told


def hmsg(head: bytes, body: bytes, sid: bytes = b"s1") -> bytes:
    return b"HMSG a.b %b %d %d\r\n%b%b\r\n" % (sid, len(head), len(head) + len(body), head, body)


HEAD = b"NATS/1.0\r\nLg: [1,2,3,4,5]\r\n\r\n"


def test_an_event_is_published_with_its_stamp_in_a_header() -> None:
    session, _ = live()
    sent = session.publish("p1", "/a/b", [Marked(b"\xff\r\n", "[1,2,3,4,5]")])
    assert sent == b"HPUB a.b 29 32\r\n" + HEAD + b"\xff\r\n\r\n"
    assert len(HEAD) == 29


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.binary(max_size=30), st.booleans()), min_size=1, max_size=6),
    st.lists(st.integers(0, 600), max_size=6),
)
def test_however_the_stream_is_cut_each_event_comes_once_with_its_stamp(
    events: list[tuple[bytes, bool]], cuts: list[int]
) -> None:
    session, told = live()
    stream = b"".join(
        hmsg(HEAD, body) if marked else b"MSG a.b s1 %d\r\n%b\r\n" % (len(body), body)
        for body, marked in events
    )
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    for begin, end in pairwise(edges):
        session.receive(stream[begin:end], 1, 2)
    wanted: list[tuple[Any, ...]] = []
    for body, marked in events:
        if marked:
            wanted.append(("marked", "s1", body, "[1,2,3,4,5]"))
            continue
        try:
            wanted.append(("event", "s1", body.decode()))
        except UnicodeDecodeError:
            wanted.append(("undecodable",))
    assert [said if said[0] != "undecodable" else said[:1] for said in told] == wanted


@pytest.mark.parametrize(
    "head",
    [
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0\r\nlg: [1]\r\n\r\n",
        b"NATS/1.0\r\nOther: Lg: [1]\r\n\r\n",
        b"",
        b"\xff\r\n\xff:\r\n\r\n",
    ],
)
def test_headers_without_ours_give_an_empty_stamp(head: bytes) -> None:
    session, told = live()
    session.receive(hmsg(head, b"x"), 1, 2)
    assert told == [("marked", "s1", b"x", "")]


def test_of_several_headers_ours_is_found() -> None:
    session, told = live()
    session.receive(hmsg(b"NATS/1.0 200 OK\r\nA: 1\r\nLg:[1]\r\nLg: [2]\r\n\r\n", b""), 1, 2)
    assert told == [("marked", "s1", b"", "[1]")]


def test_a_run_with_stamps_in_its_events_reads_what_others_send_with_headers() -> None:
    session, told = live(None)
    session.receive(hmsg(HEAD, "é".encode()) + hmsg(HEAD, b"\xff") + hmsg(HEAD, b"{}"), 1, 2)
    assert [said[:2] for said in told] == [
        ("event", "s1"),
        ("undecodable", unreadable.DELIVERY_NOT_UTF8),
        ("event", "s1"),
    ]


def test_impossible_sizes_are_told_and_the_stream_goes_on() -> None:
    session, told = live()
    session.receive(b"HMSG a.b s1 5 99999999\r\n", 1, 2)
    session.receive(hmsg(HEAD, b"x"), 1, 2)
    assert told[0][:2] == ("undecodable", unreadable.DELIVERY_TOO_LONG)
    assert told[-1] == ("marked", "s1", b"x", "[1,2,3,4,5]")
    told.clear()
    # The size of the headers exceeds that of the whole message, so the event is empty.
    session.receive(b"HMSG a.b s1 9 3\r\nabc\r\n", 1, 2)
    assert told == [("marked", "s1", b"", "")]


FILE = """\
version: 1
connect: {messages: lines}
opening: []
subscribe: {send: "SUB {channel} {id}"}
publish: {websocket: {send: "PUB {channel} {bytes}\\r\\n{event}\\r\\n"}}
deliver: "MSG {channel} {id} {bytes}\\r\\n{event}\\r\\n"
stamped:
  head: "{name}: {stamp}\\r\\n\\r\\n"
  send: "HPUB {channel} {head_bytes} {bytes}\\r\\n{head}{event}\\r\\n"
  deliver: "HMSG {channel} {id} {head_bytes} {bytes}\\r\\n{head}{event}\\r\\n"
"""


def problems(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        protocol_file.protocol_at("made-up.yaml+ws://h:1", text)
    return str(caught.value)


def test_a_whole_file_is_taken_and_says_that_stamps_can_be_in_headers() -> None:
    assert protocol_file.protocol_at("made-up.yaml+ws://h:1", FILE).rules.stamp_beside == "header"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("HPUB {channel} {head_bytes}", "HPUB {channel} {head_size}", "has the placeholder {head_size}, which is none here"),
        ("{head}{event}\\r\\n\"\n  deliver", "{head}\\r\\n\"\n  deliver", "has no {event} in its send; write it there"),
        ('head: "{name}:', 'head: "Lg:', "has no {name} in its head; write it there"),
        ("HMSG {channel} {id} {head_bytes}", "HMSG {channel} {id} {*}", "must have {head_bytes} in its first line"),
        ("HMSG {channel} {id}", "HMSG {id} {id}", "has {id} twice; write {*} for the other"),
        ("HMSG {channel} {id}", "HMSG {channel} {*}", "does not name the subscription by id, as 'deliver' does; write {id}"),
        ("HMSG {channel} {id} {head_bytes} {bytes}\\r\\n{head}", "HMSG {channel} {id} {head_bytes} {bytes}\\r\\n", "must be one line that ends in \\r\\n, and then {head}{event}\\r\\n"),
    ],
)  # fmt: skip
def test_mistakes(old: str, new: str, why: str) -> None:
    assert old in FILE
    assert why in problems(FILE.replace(old, new, 1))
