"""Test that a session never raises, whatever it receives, and reports only values that a record can hold."""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import protocol_file
from loadgen.protocol import unreadable
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import PublishAnswer, Service, Session
from loadgen.protocol.mqtt.auth import UserPassword
from tests.isolation import corpus
from tests.protocol.generic.test_session import JSON as JSON_FILE
from tests.protocol.generic.test_session import service_of
from tests.protocol.mqtt.sessions import session_of

#: A protocol file for a service that accepts or refuses a publish in the body of its HTTP answer.
HTTP_FILE = """
version: 1
title: t
connect: {{url: "{{target}}/sub/{{channel}}"}}
publish:
  http: {{url: "{{target}}/pub/{{channel}}", refused: {refused}}}
deliver: "{{event}}"
"""
KINDS = {value for name, value in vars(unreadable).items() if name.isupper() and isinstance(value, str)}
SECRET = corpus.SECRET


class Told:
    """A `SessionHandler` that asserts that sessions call it with valid arguments, and records the calls."""

    def __init__(self) -> None:
        self.undecodable: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self.calls: list[str] = []

    def on_event(self, subscription_id: str, event: str, arrival_ns: int, read_ns: int) -> None:
        assert (arrival_ns, read_ns) == (1, 2)
        subscription_id.encode()
        event.encode()
        self.events.append((subscription_id, event))

    def on_undecodable(self, kind: str, example: Callable[[], str]) -> None:
        shown = example()
        assert kind in KINDS
        assert re.fullmatch(r"[ -~]{0,483}", shown)
        assert SECRET not in shown
        self.undecodable.append((kind, shown))

    def on_published(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        publish_id.encode()
        check(answer)

    def on_reply(self, message: bytes) -> None:
        assert isinstance(message, bytes)

    def __getattr__(self, name: str) -> Callable[..., None]:
        assert name.startswith("on_")

        def told(*arguments: Any) -> None:
            self.calls.append(name)
            for argument in arguments:
                if isinstance(argument, str):
                    argument.encode()
                    assert len(argument) < 1 << 22

        return told


def check(answer: PublishAnswer) -> None:
    for text in (answer.error, *answer.rejected.values()):
        if text is not None:
            text.encode()
    assert all(isinstance(index, int) for index in answer.rejected)


def appsync() -> AppSyncEvents:
    return AppSyncEvents(Endpoints.from_url("http://h/event"), ApiKey(SECRET))


def conversation(kind: str, told: Told) -> Session:
    """Return a session that has subscribed and published."""
    handler: Any = told
    if kind == "mqtt":
        session: Session = session_of(handler, 1, UserPassword("u", SECRET))
        session.receive(corpus.MQTT[0], 1, 2)
        told.calls.clear()
    else:
        service = SERVICES[kind]
        session = service.session(handler)
    session.opening()
    session.subscribe("s1", "/default/a")
    if kind != "nchan":
        session.publish("p1", "/default/a", [corpus.event()])
    return session


@pytest.fixture(scope="module", autouse=True)
def _services() -> None:
    SERVICES["json"] = service_of(JSON_FILE, KEY=SECRET)
    for name in ("nats", "nchan"):
        target = f"{name}+ws://h:1"
        protocol = protocol_file.protocol_at(target)
        SERVICES[name] = protocol.service(protocol.endpoints(target), None)
    SERVICES["appsync"] = appsync()
    SERVICES["refusing"] = service_of(HTTP_FILE.format(refused="{when: {/ok: false}, reason: /failed}"))
    SERVICES["refusing-text"] = service_of(HTTP_FILE.format(refused='"no {reason}"'))


SERVICES: dict[str, Service] = {}
MESSAGES: dict[str, Sequence[bytes]] = {
    "appsync": corpus.APPSYNC,
    "mqtt": corpus.MQTT,
    "nats": corpus.NATS,
    "nchan": corpus.TEXTS,
    "json": corpus.JSON,
}
STREAMS = ("mqtt", "nats")


@pytest.mark.parametrize("kind", list(MESSAGES))
def test_each_message_by_itself_and_all_in_a_row(kind: str) -> None:
    together = conversation(kind, Told())
    for message in MESSAGES[kind]:
        conversation(kind, Told()).receive(message, 1, 2)
        together.receive(message, 1, 2)


@pytest.mark.parametrize("kind", list(MESSAGES))
@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=150, deadline=None)
def test_damaged_messages(kind: str, seed: int) -> None:
    random = Random(seed)
    session = conversation(kind, Told())
    messages = [corpus.damaged(random, MESSAGES[kind]) for _ in range(random.randrange(1, 12))]
    if kind in STREAMS:
        messages = corpus.cut(random, b"".join(messages))
    for message in messages:
        session.receive(random.choice((bytes, bytearray))(message), 1, 2)
    session.keepalive()
    session.closing()


@pytest.mark.parametrize("kind", list(MESSAGES))
@given(messages=st.lists(st.binary(max_size=200), max_size=8))
@settings(max_examples=60, deadline=None)
def test_noise(kind: str, messages: list[bytes]) -> None:
    session = conversation(kind, Told())
    for message in messages:
        session.receive(message, 1, 2)


@pytest.mark.parametrize("kind", list(MESSAGES))
def test_a_bad_message_costs_no_other(kind: str) -> None:
    bad, good = {
        "appsync": (corpus.BAD_TEXT, corpus.APPSYNC[4]),
        "mqtt": (corpus.BAD_TOPIC, corpus.MQTT[3]),
        "nats": (corpus.NATS[7], corpus.NATS[5]),
        "nchan": (corpus.TEXTS[2], corpus.TEXTS[0]),
        "json": (corpus.JSON[5], corpus.JSON[3]),
    }[kind]
    told = Told()
    session = conversation(kind, told)
    if kind == "json":
        session.receive(corpus.JSON[0], 1, 2)
    if kind == "nats":
        for message in corpus.NATS[:2]:
            session.receive(message, 1, 2)
    for message in (good, bad, good, bad, good) if kind not in STREAMS else [good + bad + good + bad + good]:
        session.receive(message, 1, 2)
    assert [event for _, event in told.events] == [corpus.event()] * 3
    assert len(told.undecodable) == 2


def test_each_kind_is_named_and_the_message_is_shown() -> None:
    told = Told()
    session = conversation("appsync", told)
    session.receive(corpus.BAD_TEXT, 1, 2)
    session.receive(b"x" * 500, 1, 2)
    session.receive(b"[]", 1, 2)
    session.receive(b'{"type":"data","event":"x"}', 1, 2)
    session.receive(b'{"type":"subscribe","authorization":{"x-api-key":"s3cret&key"}}', 1, 2)
    assert told.undecodable == [
        (unreadable.MESSAGE_NOT_UTF8, r'{"type":"data","id":"\xff","event":"x"}'),
        (unreadable.NOT_JSON, "x" * 120 + "..."),
        (unreadable.UNKNOWN_FORM, "[]"),
        (unreadable.NO_ID, '{"type":"data","event":"x"}'),
        (unreadable.UNKNOWN_TYPE, '{"type":"subscribe","authorization(secret)'),
    ]


def test_a_topic_that_is_no_text_is_one_message_however_it_is_cut() -> None:
    for at in range(1, len(corpus.BAD_TOPIC)):
        told = Told()
        session = conversation("mqtt", told)
        session.receive(corpus.MQTT[3] + corpus.BAD_TOPIC[:at], 1, 2)
        session.receive(corpus.BAD_TOPIC[at:] + corpus.MQTT[3], 1, 2)
        assert told.undecodable == [(unreadable.TOPIC_NOT_UTF8, r"0\x05\x00\x01\xb5\x00\xff")]
        assert len(told.events) == 2
        assert told.calls == []


@pytest.mark.parametrize("name", ["appsync", "nchan", "refusing", "refusing-text"])
@given(seed=st.integers(0, 1 << 32), status=st.sampled_from([200, 202, 400, 500]))
@settings(max_examples=150, deadline=None)
def test_answers_to_publishes(name: str, seed: int, status: int) -> None:
    answer = SERVICES[name].http_answer(status, corpus.damaged(Random(seed), corpus.HTTP))
    check(answer)
    assert answer.unreadable is None or answer.unreadable in KINDS


def test_an_answer_that_is_no_text_is_named() -> None:
    service = appsync()
    answer = service.http_answer(200, b'{"failed":[{"identifier":"\xff"}]}')
    assert answer.unreadable == unreadable.ANSWER_NOT_UTF8
    assert answer.error
    assert service.http_answer(200, b"<html>").unreadable == unreadable.ANSWER_UNREADABLE
    assert service.http_answer(200, b'{"failed":[],"successful":[]}').unreadable is None


def test_an_answer_that_should_be_json_and_is_not_is_counted_and_its_status_believed() -> None:
    service = SERVICES["refusing"]
    assert service.http_answer(200, b'{"ok":true}') == service.http_answer(200, b"") == PublishAnswer()
    assert service.http_answer(200, b'{"ok":false,"failed":"full"}').error == "full"
    assert service.http_answer(200, b"\xff") == PublishAnswer(unreadable=unreadable.ANSWER_NOT_UTF8)
    assert service.http_answer(200, b"<html>") == PublishAnswer(unreadable=unreadable.ANSWER_UNREADABLE)


def test_what_a_service_sends_back_does_not_show_the_login() -> None:
    service = appsync()
    service.handshake()
    assert service.shown(b"x s3cret&key y") == "x (secret) y"
    assert "s3cret" not in service.shown(service.handshake().subprotocols[1].encode())
    password = mqtt_shown(corpus.MQTT[14])
    assert "s3cret" not in password
    assert SERVICES["json"].shown(f"key={SECRET}".encode()) == "key={env:KEY}"


def mqtt_shown(message: bytes) -> str:
    from loadgen.protocol.mqtt.settings import Settings
    from loadgen.protocol.mqtt.use import Use
    from loadgen.protocol.mqtt.wire import Mqtt5

    return Use(Settings(), Mqtt5(), UserPassword("u", SECRET)).shown(message)
