"""Test sessions over server-sent events: messages, names, several channels, logins, and continued streams."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.measure.arrival import Arrival, of_bytes
from loadgen.protocol import event_stream, unreadable
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.base import ClientLogins, Handshake
from loadgen.protocol.generic.service import GenericService
from loadgen.protocol.generic.session import GenericSession
from loadgen.protocol.mqtt.auth import UserPassword
from tests.protocol.generic.test_session import Told, generic, known, service_of

NCHAN = "nchan-sse"
HUB = """
    version: 1
    channels: {lead: ""}
    connect:
      transport: sse
      url: "{target}/stream?topics={channels}"
      messages: json
      events: [message, update]
      error_events: [error]
    publish:
      http: {url: "{target}/hub", body: "topic={channel}&data={event_form}"}
    deliver: {channel: /topic, event: /data}
    keepalive: {timeout: 75s}
"""


def opened(service: GenericService, *channels: str) -> tuple[GenericSession, Told]:
    told = Told()
    session = service.session(told)
    assert session.opening() == []
    for number, channel in enumerate(channels):
        assert session.subscribe(f"s{number}", channel) == b""
    told.clear()
    return session, told


def test_the_url_names_the_channel_and_each_event_is_a_message() -> None:
    service = known(NCHAN, "http://h:1/base")
    assert service.connect_url.startswith("http://h:1/base/sub/")
    handshake = service.handshake(["/default/news"])
    assert handshake.resource == "/base/sub/default/news"
    session, told = opened(service, "/default/news")
    session.receive(b': hi\n\nid: 1:0\ndata: {"a":1}\n\ndata: x\ndata: y\n\n', 5, 6)
    assert told == [("event", "s0", '{"a":1}'), ("event", "s0", "x\ny")]
    assert known(NCHAN, "wss://h").connect_url.startswith("https://h/sub/")
    assert known("nchan", "https://h").connect_url.startswith("wss://h/sub/")


@given(st.lists(st.integers(0, 60), max_size=8).map(sorted))
def test_any_division_of_the_stream_gives_the_same_deliveries(cuts: list[int]) -> None:
    stream = b'\xef\xbb\xbf: hi\r\n\r\nid: 1:0\r\ndata: {"a":1}\r\n\r\nretry: 9\rdata: "\xc3\xa9"\r\r'
    session, told = opened(known(NCHAN), "/a")
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        session.receive(stream[begin:end], 5, 6)
    assert told == [("event", "s0", '{"a":1}'), ("event", "s0", '"é"')]
    assert session.retry_s == 0.009


def test_what_precedes_the_subscribe_is_held() -> None:
    told = Told()
    session = known(NCHAN).session(told)
    session.receive(b"data: early\n\nda", 5, 6)
    session.opening()
    assert told == []
    session.subscribe("s1", "/a")
    session.receive(b"ta: late\n\n", 5, 6)
    assert told == [("event", "s1", "early"), ("event", "s1", "late")]


def test_only_the_event_that_ends_the_read_has_its_arrival() -> None:
    arrivals: list[int] = []

    class Timed(Told):
        def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
            arrivals.append(arrival_ns)

    session = known(NCHAN).session(Timed())
    session.opening()
    session.subscribe("s", "/a")
    session.receive(b"data: 1\n\ndata: 2\n\n", of_bytes(1000, 50, 0), 1100)
    session.receive(b"data: 3\n\n: more\n\n", of_bytes(2000, 70, 0), 2100)
    session.receive(b"data: 4\n\n", 3000, 3100)
    found = [(int(each), each.uncertain_ns if isinstance(each, Arrival) else 0) for each in arrivals]
    assert found == [(1000, 50), (1000, 0), (2000, 70), (3000, 0)]


def test_a_connection_with_several_channels() -> None:
    service = service_of(HUB, "http://h:1")
    rules = service.description
    assert (rules.one_subscription, rules.several_by_url) == (False, True)
    assert service.handshake(["/a/b", "/c"]).resource == "/stream?topics=a/b,c"
    told = Told()
    session = service.session(told)
    session.opening()
    # Messages that arrive together with the headers of the HTTP answer wait until their subscription is made.
    session.receive(b'data: {"topic":"c","data":"1"}\n\ndata: {"topic":"a/b","data":"2"}\n\n', 5, 6)
    session.subscribe("s0", "/a/b")
    assert told.take() == [("event", "s0", "2")]
    session.subscribe("s1", "/c")
    assert told.take() == [("event", "s1", "1")]
    session.receive(b'event: update\ndata: {"topic":"c","data":"3"}\n\n', 5, 6)
    session.receive(b'event: other\ndata: {"topic":"c","data":"4"}\n\n', 5, 6)
    session.receive(
        b'event: error\ndata: no more\n\nevent: message\ndata: {"topic":"a/b","data":"5"}\n\n', 5, 6
    )
    assert told.take() == [("event", "s1", "3"), ("service_error", "no more"), ("event", "s0", "5")]


def test_joined_channels_and_publishes_as_a_form() -> None:
    url = 'url: "{target}/stream?topics={channels}"'
    joined = 'url: "{target}/stream?topic={channels}"\n      join: "&topic="'
    service = service_of(HUB.replace(url, joined), "http://h:1")
    assert service.handshake(["/a/b", "/c"]).resource == "/stream?topic=a/b&topic=c"
    request = service.http_publish("/a/b", ['{"x": "a&b=c+é"}'])
    assert request.body == b"topic=a/b&data=%7B%22x%22%3A+%22a%26b%3Dc%2B%C3%A9%22%7D"


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (b"data: \xff\n\n", unreadable.MESSAGE_NOT_UTF8),
        (b"data: not json\n\n", unreadable.NOT_JSON),
        (b"data\n\n", unreadable.NOT_JSON),
    ],
)
def test_events_that_are_no_messages_are_counted(stream: bytes, kind: str) -> None:
    session, told = opened(service_of(HUB, "http://h"), "/a")
    session.receive(stream + b'data: {"topic":"a","data":"1"}\n\n', 5, 6)
    assert [each[:2] for each in told] == [("undecodable", kind), ("event", "s0")]


def test_an_endless_line_breaks_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "MOST_BYTES", 1000)
    session, told = opened(known(NCHAN), "/a")
    session.receive(b"data: 1\n\ndata: " + b"x" * 2000, 5, 6)
    assert [each[0] for each in told] == ["event", "undecodable", "broken"]
    assert told[1][1:] == (unreadable.EVENT_TOO_LONG, event_stream.LINE_TOO_LONG)


# --- The following tests are about continuing a stream after a reconnect. ---


def test_the_next_connection_asks_for_what_follows_the_last_event() -> None:
    service = known(NCHAN)
    first, told = opened(service, "/a")
    assert first.continued(Handshake()) == Handshake()
    first.receive(b"retry: 250\nid: 7:1\ndata: 1\n\nid: 8:1\ndata: cut", 5, 6)
    assert (told, first.retry_s) == ([("event", "s0", "1")], 0.25)
    second, _ = opened(service, "/a")
    second.resume(first)
    assert second.continued(Handshake(headers={"a": "b"})).headers == {"a": "b", "last-event-id": "7:1"}
    assert second.retry_s == 0.25
    # The second connection received nothing, so the third continues after event 7:1 too.
    third, told = opened(service, "/a")
    third.resume(second)
    third.receive(b"data: 2\n\nid\n\n", 5, 6)
    assert told == [("event", "s0", "2")]
    fourth, _ = opened(service, "/a")
    fourth.resume(third)
    assert fourth.continued(Handshake()) == Handshake(), "an empty id forgets the last one"


@pytest.mark.parametrize("last_id", [b"\xc3\xa9", b"a\tb", b"x" * 5000, b"\x7f"])
def test_an_id_that_no_header_holds_is_not_sent(last_id: bytes) -> None:
    first, _ = opened(known(NCHAN), "/a")
    first.receive(b"id: " + last_id + b"\ndata: 1\n\n", 5, 6)
    second, _ = opened(known(NCHAN), "/a")
    second.resume(first)
    assert second.continued(Handshake()) == Handshake()


def test_a_websocket_continues_nothing() -> None:
    first, _ = opened(known("nchan"), "/a")
    second, _ = opened(known("nchan"), "/a")
    second.resume(first)
    assert (second.continued(Handshake()), second.retry_s) == (Handshake(), None)


# --- The following tests are about a separate login for each client. ---

OWN = """
    version: 1
    connect:
      transport: sse
      url: "{target}/sub/{channel}?token={login.token}"
      headers: {authorization: "Bearer {login.token}"}
    publish:
      http:
        url: "{target}/pub/{channel}"
        headers: {authorization: "Bearer {login.token}"}
    deliver: "{event}"
"""


def test_each_client_has_its_own_token_in_url_and_header() -> None:
    service = service_of(OWN, "http://h")
    assert "{login.token}" in service.connect_url
    tokens = iter(["t/1", "t/2", "t/3", "t/4"])
    renewed = generic(service.for_client(ClientLogins(connect=BearerToken(lambda: next(tokens)))))
    fixed = generic(service.for_client(ClientLogins(connect=BearerToken(lambda: "mine"))))
    handshake = renewed.handshake(["/a"])
    assert handshake.resource == "/sub//a?token=t%2F1"
    assert handshake.headers == {"authorization": "Bearer t/2"}
    assert fixed.handshake(["/a"]).headers == {"authorization": "Bearer mine"}
    assert renewed.http_publish("/a", ["{}"]).headers == {"authorization": "Bearer t/3"}
    assert renewed.http_publish("/a", ["{}"]).headers == {"authorization": "Bearer t/4"}
    assert fixed.http_publish("/a", ["{}"]).resource == "/pub//a"
    assert service.for_client(ClientLogins()) is service


def test_a_token_is_never_shown() -> None:
    service = generic(
        service_of(OWN, "http://h").for_client(ClientLogins(connect=BearerToken(lambda: "s3cret/x")))
    )
    service.handshake(["/a"])
    assert service.shown(b"no s3cret/x here, nor s3cret%2Fx") == "no {login} here, nor {login}"
    answer = service.http_answer(401, b"bad s3cret/x")
    assert "s3cret" not in str(answer.error)
    assert "s3cret" not in repr(service.session(Told())) + repr(vars(service))


@pytest.mark.parametrize(
    ("placeholder", "credential", "value"),
    [
        ("{login.key}", ApiKey("k"), "k"),
        ("{login.username}:{login.password}", UserPassword("u", "p"), "u:p"),
    ],
)
def test_keys_and_passwords_are_logins_too(placeholder: str, credential: Any, value: str) -> None:
    text = OWN.replace("?token={login.token}", "").replace("Bearer {login.token}", placeholder)
    service = generic(service_of(text, "http://h").for_client(ClientLogins(connect=credential)))
    assert service.handshake(["/a"]).headers == {"authorization": value}


def test_without_placeholders_there_are_no_logins_of_clients() -> None:
    with pytest.raises(ValueError, match="one login for all clients"):
        known(NCHAN).for_client(ClientLogins(connect=ApiKey("k")))
