"""Test that a WebSocket API's session accepts any data from a service, and shows no secret."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.base import ClientLogins, Session
from tests.isolation import corpus
from tests.isolation.test_sessions import Told, check
from tests.protocol.api_gateway.test_service import service_of

SECRET = corpus.SECRET
MESSAGES = (
    b'{"type":"message","channel":"/default/a","data":"%b"}' % corpus.event().replace('"', '\\"').encode(),
    b'{"type":"message","channel":"/default/a","data":{"x":1e400}}',
    b'{"type":"message","channel":"\\ud800","data":"x"}',
    b'{"type":"subscribed","id":"s1","channel":"/default/a","connectionId":"L0SM9cOFvHcCIhw="}',
    b'{"type":"subscribed","id":"s1","channel":"\\ud800","connectionId":"\\ud800"}',
    b'{"type":"published","id":"p1"}',
    b'{"type":"published","id":' + b"[" * 3000 + b"]" * 3000 + b"}",
    b'{"type":"error","id":"p1","message":"%b"}' % SECRET.encode(),
    b'{"type":"error","message":' + b"9" * 400 + b"}",
    b'{"type":"pong"}',
    b'{"message":"Forbidden","connectionId":"L0SM9cOFvHcCIhw=","requestId":"x"}',
    b'{"message":"%b is wrong","connectionId":"c"}' % SECRET.encode(),
    b'{"message":"\\ud800","connectionId":"\\ud800"}',
    b'{"message":"\xff","connectionId":"c"}',
    b'{"unknown":"%b"}' % SECRET.encode(),
    b"[" * 3000,
    b"\xff",
    b"",
    b"null",
)


class Secretive(Told):
    """Also asserts that no call to the handler contains the secret."""

    def __getattr__(self, name: str) -> Any:
        told = super().__getattr__(name)

        def checked(*arguments: Any) -> None:
            assert SECRET not in str(arguments)
            told(*arguments)

        return checked

    def on_published(self, publish_id: str, answer: Any, arrival_ns: int) -> None:
        assert SECRET not in str(answer)
        check(answer)


@pytest.fixture(params=["", "token=query:t", "event=json", "form=connections"], name="query", scope="module")
def _query(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def conversation(query: str) -> Session:
    login = ApiKey(SECRET) if "form" in query else BearerToken(lambda: f"Bearer {SECRET}")
    service = service_of(query).for_client(ClientLogins(connect=login))
    session = service.session(Secretive())
    service.handshake()
    session.opening()
    session.subscribe("s1", "/default/a")
    if "form" not in query:
        session.publish("p1", "/default/a", [corpus.event()])
    return session


def test_each_message_by_itself_and_all_in_a_row(query: str) -> None:
    together = conversation(query)
    for message in MESSAGES:
        conversation(query).receive(message, 1, 2)
        together.receive(message, 1, 2)


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=100, deadline=None)
def test_damaged_messages(query: str, seed: int) -> None:
    random = Random(seed)
    session = conversation(query)
    for _ in range(random.randrange(1, 12)):
        session.receive(corpus.damaged(random, MESSAGES), 1, 2)


def test_one_clients_secret_is_not_anothers() -> None:
    service = service_of("", BearerToken(lambda: "common-canary"))
    service.handshake()
    own = service.for_client(ClientLogins(connect=BearerToken(lambda: "own-canary")))
    own.handshake()
    assert own.shown(b"own-canary") == service.shown(b"common-canary") == "(secret)"
    assert service.for_client(ClientLogins()).shown(b"common-canary") == "(secret)"
