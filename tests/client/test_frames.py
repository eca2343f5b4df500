"""Test that frames are displayed without any secret, but with what a reader needs."""

import base64
import json
import re
import string
from unittest.mock import create_autospec
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loadgen.client.frames import MOST_CHARACTERS, MOST_FRAMES, Frames
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.base import Handshake, HttpRequest, SessionHandler
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.protocol.unreadable import shown
from loadgen.protocol_file import protocol_at

URL = "https://abc.appsync-api.eu-west-1.amazonaws.com/event"
CHANNEL = "/default/loadgen-probe"
#: One handler that all tests share, since creating a handler takes longer than the rest of a login. No test uses its
#: calls.
HANDLER = create_autospec(SessionHandler)
SECRETS = st.text(string.ascii_letters + string.digits + "-_.~+/=", min_size=12, max_size=60).filter(
    lambda text: any(c.isdigit() for c in text)
)
#: The part of a protocol file that follows the opening.
OPENING = """
subscribe: {send: "SUB {channel} {id}"}
publish: {websocket: {send: "PUB {channel} {event}"}}
deliver: "MSG {id} {event}"
"""


def service(secret: str, *, token: bool = False) -> AppSyncEvents:
    return AppSyncEvents(Endpoints.from_url(URL), BearerToken(lambda: secret) if token else ApiKey(secret))


def login(secret: str, *, token: bool = False) -> Frames:
    """Return the frames of a login, a subscribe and both ways to publish, as the client sends them."""
    target = service(secret, token=token)
    frames = Frames(target.shown, [CHANNEL])
    handshake = target.handshake([CHANNEL])
    frames.upgrade(target.connect_url, handshake)
    session = target.session(HANDLER)
    for message in (
        *session.opening(),
        session.subscribe("s1", CHANNEL),
        session.publish("p1", CHANNEL, ['{"a":1}']),
    ):
        frames.sent(message)
    frames.request(URL, target.http_publish(CHANNEL, ['{"a":1}']))
    return frames


def said(frames: Frames) -> str:
    return "\n".join(frame.text for frame in frames.take())


def forms(secret: str) -> list[str]:
    """Return the secret in the forms in which a service may echo it."""
    inner = json.dumps({"x-api-key": secret}).encode()
    return [
        secret,
        secret.upper(),
        quote(secret),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(inner).decode().rstrip("="),
        "header-" + base64.urlsafe_b64encode(inner).decode().rstrip("="),
        secret[len(secret) // 2 :] + secret[: len(secret) // 2],
    ]


@given(SECRETS, st.booleans())
@example("da2-9gt81lo5jkk74oc19y7e29bpny", False)
def test_nothing_sent_shows_the_login(secret: str, token: bool) -> None:
    text = said(login(secret, token=token))
    assert secret not in text
    for form in forms(secret)[3:6]:
        assert form not in text
        assert form[:16] not in text
    assert "connection_init" in text
    assert '"channel": "/default/loadgen-probe"' in text
    assert f"({len(secret)} characters)" in text
    assert "Sec-WebSocket-Protocol: aws-appsync-event-ws, (" in text


def test_a_secret_echoed_in_percent_encoding_is_hidden() -> None:
    for secret in ("00000000000+", "a+b/", "ke~y%key1"):
        frames = login(secret, token=False)
        frames.take()
        for form in (quote(secret), quote(secret, safe=""), quote(secret, safe="").lower()):
            frames.received(
                json.dumps({"type": "error", "errors": [{"message": f"bad key {form}!"}]}).encode()
            )
            frames.closed(f"no ({form})")
            if form != secret:
                assert form not in said(frames)


@given(SECRETS, st.booleans(), st.data())
def test_nothing_received_shows_the_login_however_it_is_echoed(
    secret: str, token: bool, data: st.DataObject
) -> None:
    frames = login(secret, token=token)
    frames.take()
    form = data.draw(st.sampled_from(forms(secret)))
    echo = data.draw(
        st.sampled_from(
            [
                {"type": "error", "errors": [{"errorType": "X", "message": f"bad key {form}!"}]},
                {"type": form},
                {"id": form, "event": form},
                {form: "x"},
                {"message": {"deep": [[form]]}},
                {"unknown": f"<{form}>"},
                [form, [form]],
            ]
        )
    )
    frames.received(json.dumps(echo).encode())
    frames.received(f"-ERR {form}\r\n".encode())
    frames.answer(403, f"<html>{form}</html>".encode())
    frames.closed(f"the service closed the connection with code 4401 ({form})")
    text = said(frames)
    assert form not in text
    assert secret not in text
    assert secret.lower() not in text.lower()


def test_what_a_reader_needs_is_shown() -> None:
    frames = login("da2-9gt81lo5jkk74oc19y7e29bpny")
    frames.take()
    frames.step = "subscribe"
    frames.received(b'{"type":"subscribe_error","id":"s1","errors":[{"errorType":"UnauthorizedException"}]}')
    frames.received(b'{"type":"connection_ack","connectionTimeoutMs":300000}')
    frames.answer(400, b'{"errors":[{"errorType":"BadRequestException","message":"Invalid Channel Format"}]}')
    first, second, third = frames.take()
    assert json.loads(first.text) == {
        "type": "subscribe_error",
        "id": "s1",
        "errors": [{"errorType": "UnauthorizedException"}],
    }
    assert json.loads(second.text) == {"type": "connection_ack", "connectionTimeoutMs": 300000}
    assert "Invalid Channel Format" in third.text
    assert third.text.startswith("HTTP 400\n")
    assert {first.step, third.step} == {"subscribe"}
    assert not first.sent
    assert first.size_bytes == 85


def test_events_of_others_are_not_shown_but_our_own_are() -> None:
    frames = Frames(shown)
    frames.vouch('{"loadgen":"probe","sent_ns":1795939674654842010}')
    own = json.dumps({"type": "data", "event": '{"loadgen":"probe","sent_ns":1795939674654842010}'})
    frames.received(own.encode())
    frames.received(b'{"type":"data","event":"{\\"pin\\": \\"1234\\"}"}')
    mine, foreign = frames.take()
    assert json.loads(mine.text) == json.loads(own)
    assert json.loads(foreign.text)["event"] == "(15 characters)"


def test_queries_paths_and_headers_that_a_protocol_file_fills_are_hidden() -> None:
    frames = Frames(shown)
    frames.upgrade(
        "wss://example.org/socket",
        Handshake(
            ("mine-SECRET1",),
            {"Cookie": "sid=SECRET2", "Host": "example.org"},
            resource="/s/SECRET3?k=SECRET4",
        ),
    )
    frames.request(
        "https://example.org/pub", HttpRequest(b"CONNECT SECRET5", {"Authorization": "Bearer SECRET6"})
    )
    frames.sent(b'CONNECT {"auth_token":"SECRET7"}\r\n')
    frames.sent(b'{"pin":12345678,"token":"SECRET8"}')
    frames.received(b"+OK secret6 SECRET4")
    text = said(frames)
    assert "secret" not in text.lower()
    assert "12345678" not in text
    assert "Host: example.org" in text
    assert "CONNECT … (" in text


@pytest.mark.parametrize("first", [0x10, 0x20, 0xE0, 0xFF])
def test_a_broker_s_packets_are_named_and_not_shown(first: int) -> None:
    frames = Frames(shown)
    frames.upgrade("ws://h/mqtt", Handshake(("mqtt",), binary=True))
    frames.take()
    frames.sent(bytes([first]) + b"\x00\x04MQTTuserpassword")
    assert said(frames).endswith("packet of 19 bytes") is True


@given(st.binary(max_size=300))
@example(b"[" * 300)
@example(b'{"type":' * 40 + b"1" + b"}" * 40)
def test_any_bytes_become_a_short_printable_text(message: bytes) -> None:
    frames = Frames(shown)
    frames.received(message)
    frames.sent(message)
    for frame in frames.take():
        assert len(frame.text) <= MOST_CHARACTERS + 2
        assert "\x1b" not in frame.text
        assert "\r" not in frame.text


def test_a_flood_is_cut() -> None:
    frames = Frames(shown)
    for _ in range(MOST_FRAMES + 7):
        frames.received(b'{"type":"ka"}')
    assert (len(frames.take()), frames.left_out) == (MOST_FRAMES, 7)


@pytest.mark.parametrize(
    "opening",
    [
        '"{login.password}"',
        '"{login.password} {login.username}"',
        "'AUTH {login.username} {login.password}'",
        '{type: hello, id: "{login.password}", message: "key {login.password}", pass: "{login.password}"}',
    ],
)
@given(st.text(string.ascii_letters + "-+", min_size=5, max_size=20).filter(lambda text: text.strip("-+")))
def test_a_login_in_a_message_of_the_opening_is_hidden(opening: str, secret: str) -> None:
    # A secret made of letters could equal a word of the frame that is not secret, so let it begin with `Xq`.
    secret = f"Xq{secret}"
    text = f"version: 1\nopening: [{{send: {opening}}}]\n" + OPENING
    target = "mine.yaml+ws://h"
    protocol = protocol_at(target, text)
    service = protocol.service(protocol.endpoints(target), UserPassword("ada", secret))
    frames = Frames(service.shown, [CHANNEL])
    (message,) = service.session(HANDLER).opening()
    assert secret.encode() in message
    frames.sent(message)
    frames.received(b"no such login: " + message)
    shown = said(frames)
    assert secret not in shown
    assert not re.search(rf"\b{re.escape(secret[:8])}", shown)
