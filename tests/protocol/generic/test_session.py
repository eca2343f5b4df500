"""Test sessions of protocol files with given messages. `Told` keeps the calls to the handler."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import native, protocol_file
from loadgen.measure.arrival import of_bytes
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.base import PING, PublishAnswer
from loadgen.protocol.generic.service import GenericService
from loadgen.protocol.generic.session import UNASKED, GenericSession
from loadgen.server import frames

OK = PublishAnswer()


Said = tuple[Any, ...]
"""A call to the handler: its kind, then the arguments that belong to the kind."""


class Told(list[Said]):
    """Implements `SessionHandler` as a list of the calls."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        kind = name.removeprefix("on_")
        if kind == "undecodable":
            return lambda what, example: self.append((kind, what, example()))
        timed = {"event": 2, "connected": 1, "subscribed": 1, "published": 1}.get(kind, 0)
        return lambda *said: self.append((kind, *(said[:-timed] if timed else said)))

    def take(self) -> list[Said]:
        taken = list(self)
        self.clear()
        return taken


def generic(service: object) -> GenericService:
    assert isinstance(service, GenericService)
    return service


def service_of(text: str, url: str = "ws://h:1", **environment: str) -> GenericService:
    name = f"test-{abs(hash(text))}.yaml+{url}"
    protocol = protocol_file.protocol_at(name, dedent(text))
    return generic(protocol.service(protocol.endpoints(name), environment))


def known(name: str, url: str = "ws://h:1") -> GenericService:
    target = f"{name}+{url}"
    protocol = protocol_file.protocol_at(target)
    return generic(protocol.service(protocol.endpoints(target), None))


Begun = tuple[GenericSession, Told]


def begun(service: GenericService) -> Begun:
    told = Told()
    return service.session(told), told


class TestNats:
    @pytest.fixture
    def live(self) -> Begun:
        session, told = begun(known("nats"))
        assert session.opening() == []
        session.receive(b'INFO {"server_id":"x"} \r\n', 1, 2)
        [(kind, connect)] = told.take()
        assert kind == "reply"
        assert connect.startswith(b'CONNECT {"verbose":true')
        session.receive(b"+OK\r\n", 3, 4)
        assert told.take() == [("connected",)]
        return session, told

    def test_a_server_that_speaks_first_is_heard_before_the_owner_has_opened(self) -> None:
        session, told = begun(known("nats"))
        session.receive(b"INFO {}\r\n", 1, 2)
        assert told == []
        [connect] = session.opening()
        assert connect.startswith(b"CONNECT ")
        session.receive(b"+OK\r\n", 3, 4)
        assert told.take() == [("connected",)]

    def test_channels_are_subjects(self, live: Begun) -> None:
        session, _ = live
        assert session.subscribe("s1", "/default/chat/7") == b"SUB default.chat.7 s1\r\n"
        assert session.subscribe("s2", "/default/chat/*") == b"SUB default.chat.> s2\r\n"
        assert session.unsubscribe("s1") == b"UNSUB s1\r\n"

    def test_answers_come_in_the_order_of_the_requests(self, live: Begun) -> None:
        session, told = live
        session.subscribe("s1", "/a/b")
        assert session.publish("p1", "/a/b", ["{é}"]) == "PUB a.b 4\r\n{é}\r\n".encode()
        session.unsubscribe("s1")
        session.publish("p2", "/a/b", ["x"])
        session.receive(b"+OK\r\n+OK\r\n", 1, 2)
        session.receive(b"+OK\r\n-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n+OK\r\n", 1, 2)
        assert told.take() == [
            ("subscribed", "s1"),
            ("published", "p1", OK),
            ("published", "p2", PublishAnswer(error="'Permissions Violation for Publish to \"a.b\"'")),
            ("deviation", UNASKED),
        ]

    def test_an_error_that_nobody_has_caused_is_one_of_the_service(self, live: Begun) -> None:
        session, told = live
        session.receive(b"-ERR 'Slow Consumer'\r\n", 1, 2)
        assert told.take() == [("service_error", "'Slow Consumer'")]

    def test_a_ping_is_answered(self, live: Begun) -> None:
        session, told = live
        session.receive(b"PING\r\n", 1, 2)
        assert told.take() == [("reply", b"PONG\r\n")]

    def test_a_refused_login_is_told(self) -> None:
        session, told = begun(known("nats"))
        session.opening()
        session.receive(b"INFO {}\r\n", 1, 2)
        told.take()
        session.receive(b"-ERR 'Authorization Violation'\r\n", 3, 4)
        assert told.take() == [("refused", "'Authorization Violation'")]

    def test_another_answer_than_the_file_says_names_both(self) -> None:
        session, told = begun(known("nats"))
        session.opening()
        session.receive(b"HELLO\x1b\r\n", 1, 2)
        [(kind, reason)] = told.take()
        assert kind == "refused"
        assert (
            reason == "opening.0 of the protocol file expects 'INFO {*}', and the service sent 'HELLO\\x1b'"
        )

    def test_what_the_file_does_not_describe_is_told_and_not_taken(self, live: Begun) -> None:
        session, told = live
        session.receive(b"HUH 1\r\nMSG a s1 2\r\n{}\r\n", 1, 2)
        assert told.take() == [
            ("undecodable", unreadable.UNDESCRIBED, "HUH 1"),
            ("event", "s1", "{}"),
        ]

    @settings(deadline=None)
    @given(
        st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), min_size=1, max_size=8),
        st.lists(st.integers(0, 400), max_size=6),
    )
    def test_however_the_stream_is_cut_each_event_is_told_once_and_whole(
        self, events: list[str], cuts: list[int]
    ) -> None:
        session, told = begun(known("nats"))
        session.opening()
        session.receive(b"INFO {}\r\n", 0, 0)
        session.receive(b"+OK\r\n", 0, 0)
        told.take()
        stream = b"".join(
            b"MSG a.b s%d %d\r\n%b\r\n" % (k, len(event.encode()), event.encode())
            for k, event in enumerate(events)
        )
        places = sorted({min(cut, len(stream)) for cut in cuts} | {0, len(stream)})
        for begin, end in pairwise(places):
            session.receive(stream[begin:end], 1, 2)
        assert told.take() == [("event", f"s{k}", event) for k, event in enumerate(events)]

    def test_a_length_that_cannot_be_does_not_hold_everything_up(self, live: Begun) -> None:
        session, told = live
        session.receive(b"MSG a s1 999999999\r\nPING\r\n", 1, 2)
        assert told.take() == [
            ("undecodable", unreadable.DELIVERY_TOO_LONG, r"MSG a s1 999999999\r\n"),
            ("reply", b"PONG\r\n"),
        ]


class TestNchan:
    def test_the_subscription_is_in_the_url_and_the_message_is_the_event(self) -> None:
        service = known("nchan", "ws://h:1/base/")
        assert service.handshake(["/default/news"]).resource == "/base/sub/default/news"
        session, told = begun(service)
        assert session.opening() == []
        session.receive(b'{"early":1}', 1, 2)
        assert told.take() == []
        assert session.subscribe("s4", "/default/news") == b""
        session.receive(bytearray(b'{"a":1}'), 1, 2)
        assert told.take() == [("event", "s4", '{"early":1}'), ("event", "s4", '{"a":1}')]
        session.receive(b"\xff", 1, 2)
        assert told.take() == [("undecodable", unreadable.MESSAGE_NOT_UTF8, r"\xff")]

    @pytest.mark.skipif(not native.available, reason="the native receive path was not built")
    def test_the_fast_path_takes_events_of_the_only_subscription(self) -> None:
        place = NativePlace(("_lg",), checked=False)
        rows = native.Rows(9, 4)
        session, _ = begun(known("nchan"))
        assert session.fast_path(rows, {}, place) is None
        session.subscribe("s4", "/default/news")
        assert session.fast_path(rows, {"s3": 3}, place) is None
        assert session.fast_path(rows, {"s4": 4}, NativePlace(("_lg",), checked=True)) is None
        fast_path = session.fast_path(rows, {"s4": 4}, place)
        assert fast_path is not None
        frame = frames.text_frame(b'{"_lg":[1,2,3,4,5],"text":"hello"}')
        assert fast_path.take_frames(frame, 10, 20) == len(frame)
        ((buffer, used),) = rows.take()
        assert memoryview(buffer)[:used].cast("q").tolist() == [4, 10, 20, 0, 1, 2, 3, 4, 5]

    def test_one_publishes_by_http_to_the_channels_own_url(self) -> None:
        service = known("nchan", "wss://h")
        request = service.http_publish("/default/news", ['{"a":1}'])
        assert (request.method, request.resource, request.body) == ("POST", "/pub/default/news", b'{"a":1}')
        assert service.http_url == "https://h/pub/{channel}"
        assert service.http_answer(201, b"") == service.http_answer(202, b"x") == OK
        assert service.http_answer(403, b"no <b>").error == (
            "HTTP 403, where the protocol file expects 201 or 202: 'no <b>'"
        )


JSON = """
    version: 1
    connect: {url: "{target}/ws?key={env:KEY}", messages: json, headers: {authorization: "Bearer {env:KEY}"}}
    opening:
      - send: {type: hello, key: "{env:KEY}"}
      - expect: {when: {/type: welcome}}
    subscribe:
      send: {type: sub, id: "{number}", topic: "{channel}"}
      accepted: {when: {/type: subbed}, number: /id}
      refused: {when: {/type: failed}, number: /id, reason: /why}
    unsubscribe: {send: {type: unsub, id: "{number}"}}
    publish:
      websocket:
        send: {type: pub, id: "{id}", topic: "{channel}", events: "{events}"}
        accepted: {when: {/type: pubbed}, id: /id}
        refused: {when: {/type: failed}, id: /id, reason: /why}
    deliver: {when: {/type: msg}, number: /sub, event_json: /data/event}
    replies: [{on: {when: {/type: ping}}, send: {type: pong}}]
    ignore: {when: {/type: tick}}
    errors: {when: {/type: error}, reason: /why}
    keepalive: {send: {type: alive}, every: 20s}
"""


class TestJson:
    @pytest.fixture
    def service(self) -> GenericService:
        return service_of(JSON, KEY="s3cret&key")

    @pytest.fixture
    def live(self, service: GenericService) -> Begun:
        session, told = begun(service)
        assert [json.loads(frame) for frame in session.opening()] == [{"type": "hello", "key": "s3cret&key"}]
        session.receive(b'{"type":"tick"}', 1, 2)
        session.receive(b'{"type":"ping"}', 1, 2)
        session.receive(b'{"type":"welcome","you":1}', 1, 2)
        assert told.take() == [("reply", b'{"type":"pong"}'), ("connected",)]
        return session, told

    def test_the_secret_is_in_the_handshake_and_is_shown_nowhere(self, service: GenericService) -> None:
        handshake = service.handshake()
        assert handshake.resource == "/ws?key=s3cret%26key"
        assert handshake.headers == {"authorization": "Bearer s3cret&key"}
        assert service.connect_url == "ws://h:1/ws?key={env:KEY}"
        session, told = begun(service)
        session.opening()
        session.receive(b'{"type":"error","why":"no such key s3cret&key"}', 1, 2)
        session.receive(b'{"you":"s3cret&key"}', 1, 2)
        assert service._dialect.redacted("?key=s3cret%26key") == "?key={env:KEY}"
        assert told.take() == [
            ("refused", "no such key {env:KEY}"),
            (
                "refused",
                "opening.1 of the protocol file expects '/type = \"welcome\"', and the service sent"
                ' \'{"you":"{env:KEY}"}\'',
            ),
        ]
        assert "s3cret" not in f"{service!r}{handshake!r}{session!r}"

    def test_requests_are_known_by_number_or_by_id(self, live: Begun) -> None:
        session, told = live
        assert json.loads(session.subscribe("s8", "/a/b")) == {"type": "sub", "id": 1, "topic": "/a/b"}
        assert json.loads(session.publish("p1", "/a/b", ["x", "y"])) == {
            "type": "pub", "id": "p1", "topic": "/a/b", "events": ["x", "y"],
        }  # fmt: skip
        session.subscribe("s9", "/a/c")
        for message in (
            b'{"type":"failed","id":3,"why":"full"}',
            b'{"type":"pubbed","id":"p1"}',
            b'{"type":"subbed","id":1}',
            b'{"type":"subbed","id":1}',
        ):
            session.receive(message, 1, 2)
        assert told.take() == [
            ("subscribe_failed", "s9", "full"),
            ("published", "p1", OK),
            ("subscribed", "s8"),
            ("deviation", UNASKED),
        ]
        assert json.loads(session.unsubscribe("s8")) == {"type": "unsub", "id": 1}

    def test_deliveries_and_all_else(self, live: Begun) -> None:
        session, told = live
        session.subscribe("s8", "/a/b")
        session.receive(b'{"type":"msg","sub":1,"data":{"event":{"a":[1, 2]}}}', 1, 2)
        session.receive(b'{"type":"msg","sub":9,"data":{"event":1}}', 1, 2)
        session.receive(b'{"type":"error","why":"slow down"}', 1, 2)
        session.receive(b'{"type":"news"}', 1, 2)
        session.receive(b"{", 1, 2)
        session.receive(b'{"type":"msg","sub":1,"data":{"event":"\xff"}}', 1, 2)
        taken = told.take()
        assert taken[:4] == [
            ("event", "s8", '{"a":[1, 2]}'),
            ("event", "9", "1"),
            ("service_error", "slow down"),
            ("undecodable", unreadable.UNDESCRIBED, '{"type":"news"}'),
        ]
        assert taken[4:] == [
            ("undecodable", unreadable.NOT_JSON, "{"),
            (
                "undecodable",
                unreadable.MESSAGE_NOT_UTF8,
                r'{"type":"msg","sub":1,"data":{"event":"\xff"}}',
            ),
        ]

    def test_the_keepalive_is_sent_as_often_as_the_file_says(self, live: Begun) -> None:
        session, _ = live
        assert session.keepalive_ns == 20_000_000_000
        assert session.keepalive() == b'{"type":"alive"}'
        assert session.timeout_ns is None

    @pytest.mark.parametrize(
        ("written", "every_ns", "timeout_ns"),
        [
            ("{every: 20s, timeout: 50s}", 20_000_000_000, 50_000_000_000),
            ("{timeout: 90s}", None, 90_000_000_000),
        ],
    )
    def test_a_silence_has_a_bound_where_the_file_says_so(
        self, written: str, every_ns: int | None, timeout_ns: int
    ) -> None:
        text = JSON.replace("keepalive: {send: {type: alive}, every: 20s}", f"keepalive: {written}")
        session, _ = begun(service_of(text, KEY="k"))
        assert (session.keepalive_ns, session.timeout_ns) == (every_ns, timeout_ns)
        assert session.keepalive() is PING

    def test_a_variable_that_is_not_set_is_named(self) -> None:
        with pytest.raises(
            ValueError, match=r"the environment variable KEY, which the protocol file .* is not set"
        ):
            service_of(JSON)


CHANNEL = """
    version: 1
    connect: {messages: json}
    subscribe: {send: [join, "{channel}"], accepted: {when: {/0: joined}, channel: /1}}
    publish: {websocket: {send: [say, "{channel}", "{event}"]}}
    deliver: {when: {/0: said}, channel: /1, event: /2}
"""


def test_what_is_known_by_its_channel_only_finds_its_subscription() -> None:
    service = service_of(CHANNEL)
    assert (service.answers_opening, service.answers_subscribes, service.answers_publishes) == (
        False,
        True,
        False,
    )
    session, told = begun(service)
    assert session.opening() == []
    assert json.loads(session.subscribe("s1", "/a/b")) == ["join", "/a/b"]
    session.receive(b'["joined","/a/b"]', 1, 2)
    session.receive(b'["said","/a/b","x"]', 1, 2)
    session.receive(b'["said","/a/c","x"]', 1, 2)
    assert told.take() == [("subscribed", "s1"), ("event", "s1", "x"), ("event", "/a/c", "x")]


def test_events_can_be_within_the_text_of_a_message_or_of_a_line() -> None:
    for messages, end in (("text", b""), ("lines", b"\r\n")):
        service = service_of(
            f"""
            version: 1
            connect: {{messages: {messages}}}
            subscribe: {{send: "+{{id}} {{channel}}"}}
            publish: {{websocket: {{send: "={{channel}} {{event}}"}}}}
            deliver: "@{{id}} {{event}}"
            """
        )
        assert (service.answers_subscribes, service.answers_publishes) == (False, False)
        session, told = begun(service)
        session.opening()
        assert session.subscribe("s1", "/a") == b"+s1 /a"
        session.receive(b'@s1 {"a": "b"}' + end, 1, 2)
        assert told.take() == [("event", "s1", '{"a": "b"}')]


def test_the_files_that_come_with_the_program_are_all_proven_here() -> None:
    files = Path(protocol_file.__file__).with_name("known").glob("*.yaml")
    assert {path.stem for path in files} == {"nats", "nchan", "nchan-sse"}


class Timed(Told):
    def on_event(self, subscription: str, event: str, arrival_ns: int, read_ns: int) -> None:
        self.append((event, int(arrival_ns), getattr(arrival_ns, "uncertain_ns", 0)))


def test_of_several_lines_only_the_last_of_the_bytes_arrived_with_them() -> None:
    told = Timed()
    session = known("nats").session(told)
    session.opening()
    session.receive(b'INFO {"server_id":"x"} \r\n', 1, 2)
    session.subscribe("s1", "/a")
    session.receive(b"+OK\r\n", 1, 2)
    told.clear()
    one = b"MSG a s1 1\r\nx\r\n"
    session.receive(one + one, of_bytes(100, 40, 0), 200)
    session.receive(one + one[:5], of_bytes(300, 50, 0), 400)
    session.receive(one[5:], of_bytes(500, 60, 0), 600)
    events = [said for said in told if said[0] == "x"]
    assert events == [("x", 100, 40), ("x", 100, 0), ("x", 300, 50), ("x", 500, 0)]
