"""Test a client's own login in the messages that open a connection."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.base import ClientLogins, UnfitLoginError
from loadgen.protocol.generic.service import GenericService
from loadgen.protocol.mqtt.auth import UserPassword
from tests.protocol.generic.test_session import Told, begun, generic, known, service_of

FILE = """
    version: 1
    connect: {{url: "{{target}}/ws"}}
    opening:
      - send: {opening}
      - expect: WELCOME
    subscribe: {{send: "SUB {{channel}} {{id}}", accepted: OK, refused: "ERR {{reason}}"}}
    publish: {{websocket: {{send: "PUB {{channel}} {{event}}"}}}}
    deliver: "MSG {{id}} {{event}}"
    errors: ["ERR {{reason}}"]
"""
#: Possible passwords: any text that a UTF-8 file can hold.
values = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.text(
    " \"'\\\r\n\0{}[]:,;%é\u2028", max_size=8
)


def client(opening: str, credential: Any) -> GenericService:
    return generic(service_of(FILE.format(opening=opening)).for_client(ClientLogins(connect=credential)))


def sent(service: GenericService) -> bytes:
    (message,) = service.session(Told()).opening()
    return message


@settings(deadline=None)
@given(values, values)
def test_any_user_and_password_arrive_at_nats_as_they_are(username: str, password: str) -> None:
    service = generic(known("nats").for_client(ClientLogins(connect=UserPassword(username, password))))
    session, told = begun(service)
    assert session.opening() == []
    session.receive(b'INFO {"server_id":"x"} \r\n', 1, 2)
    [(kind, line)] = told.take()
    assert kind == "reply"
    head, _, rest = line.partition(b" ")
    assert head == b"CONNECT"
    assert rest.endswith(b"}\r\n")
    assert b"\r" not in rest[:-2]
    assert b"\n" not in rest[:-2]
    connect = json.loads(rest)
    assert (connect["user"], connect["pass"], connect["verbose"]) == (username, password, True)


def test_without_a_login_nats_gets_none() -> None:
    session, told = begun(known("nats"))
    session.opening()
    session.receive(b'INFO {"server_id":"x"} \r\n', 1, 2)
    [(_, line)] = told.take()
    assert {"user", "pass"}.isdisjoint(json.loads(line.removeprefix(b"CONNECT ")))


@settings(deadline=None)
@given(values, values)
def test_in_a_mapping_any_value_arrives_as_it_is(username: str, password: str) -> None:
    opening = (
        '{hello: "{login.username}", list: ["a {login.password} b", 1], inner: \'{"p":"{login.password}"}\'}'
    )
    message = json.loads(sent(client(opening, UserPassword(username, password))))
    inner = message.pop("inner")
    assert message == {"hello": username, "list": [f"a {password} b", 1]}
    assert json.loads(inner) == {"p": password}


@settings(deadline=None)
@given(values, values)
def test_in_a_plain_text_a_value_arrives_as_it_is_or_is_refused(username: str, password: str) -> None:
    service: GenericService | None = None
    why = ""
    try:
        service = client(
            r'"AUTH {login.username} \"{login.password}\"; done"', UserPassword(username, password)
        )
    except UnfitLoginError as error:
        why = str(error)
    if service is None:
        assert "of the protocol file: the value of {login." in why
        assert not any(value in why for value in (username, password) if len(value) > 3)
        return
    text = sent(service).decode()
    assert text == f'AUTH {username} "{password}"; done'
    assert "\r" not in text
    assert "\n" not in text
    # Check as a service would read it, which splits the text at spaces and removes quotes: it gets the same values.
    word, name, rest = text.split(" ", 2)
    assert (word, name, rest.split('"')) == ("AUTH", username, ["", password, "; done"])


@pytest.mark.parametrize(
    ("opening", "value", "problem"),
    [
        ('"AUTH {login.password}"', "a\r\nPUB x", "text with a control character, such as the end of a line"),
        ('"AUTH {login.password}"', "a b", "text with a space, outside quotes"),
        ('"AUTH {login.password}"', "", "empty"),
        ('"AUTH {login.password}:x"', "a:b", "text with the character ':', which follows it there"),
        (r'"AUTH \"{login.password}\""', 'a"b', "text with the character '\"', which follows it there"),
        (r'"AUTH \"{login.password}\""', "a\\", "text with a backslash, between quotes"),
        ('{a: "{login.password}"}', "\ud800", "text with a broken character, which UTF-8 cannot hold"),
        (r'"A {\"a\":\"{login.password}\"}"', "\ud800", "text with a broken character, which UTF-8 cannot hold"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_stand_there_is_refused_with_a_sentence(
    opening: str, value: str, problem: str
) -> None:
    with pytest.raises(UnfitLoginError) as refused:
        client(opening, UserPassword("u", value))
    assert str(refused.value) == (
        "opening.0.send of the protocol file: the value of {login.password} cannot stand there: it is "
        + problem
    )


@pytest.mark.parametrize(
    ("opening", "credential", "message"),
    [
        ('"AUTH {login.key}"', ApiKey("k1"), b"AUTH k1"),
        (r'"AUTH {\"t\":\"{login.token}\"}"', BearerToken(lambda: "t1"), b'AUTH {"t":"t1"}'),
    ],
)
def test_keys_and_tokens_are_logins_too(opening: str, credential: Any, message: bytes) -> None:
    assert sent(client(opening, credential)) == message


def test_a_renewed_token_is_sent_by_the_next_connection_and_both_are_hidden() -> None:
    tokens = iter(["first-one", "second-one", "third-one", "fourth one"])
    service = client('"AUTH {login.token}"', BearerToken(lambda: next(tokens)))
    assert sent(service) == b"AUTH second-one"
    assert sent(service) == b"AUTH third-one"
    assert service.shown(b"second-one and third-one") == "{login} and {login}"
    told = Told()
    assert service.session(told).opening() == []
    assert told == [
        (
            "refused",
            "opening.0.send of the protocol file: the value of {login.token} cannot stand there: it is text with a"
            " space, outside quotes",
        )
    ]


def test_each_client_sends_its_own_login_and_the_others_stay_as_they_are() -> None:
    shared = service_of(FILE.format(opening='"AUTH {login.username} {login.password}"'))
    one, two = (
        generic(shared.for_client(ClientLogins(connect=UserPassword(name, f"p-{name}"))))
        for name in ("ada", "bob")
    )
    assert (sent(one), sent(two)) == (b"AUTH ada p-ada", b"AUTH bob p-bob")
    told = Told()
    assert shared.session(told).opening() == []
    assert told == [("refused", "opening.0.send of the protocol file needs a login, and the client has none")]


def test_a_login_after_a_greeting_that_cannot_be_sent_is_a_refusal() -> None:
    tokens = iter(["good", "not good"])
    text = FILE.format(opening='"AUTH {login.token}"').replace(
        "    opening:\n", "    opening:\n      - expect: HI\n"
    )
    service = generic(service_of(text).for_client(ClientLogins(connect=BearerToken(lambda: next(tokens)))))
    session, told = begun(service)
    assert session.opening() == []
    session.receive(b"HI", 1, 2)
    [(kind, why)] = told
    assert kind == "refused"
    assert why.startswith("opening.1.send of the protocol file: the value of {login.token}")


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=4, max_size=30))
def test_whatever_form_a_service_repeats_it_in_a_password_is_hidden(password: str) -> None:
    service = generic(known("nats").for_client(ClientLogins(connect=UserPassword("ada", f"<{password}>"))))
    for form in (
        f"<{password}>",
        json.dumps(f"<{password}>"),
        json.dumps(f"<{password}>", ensure_ascii=False),
    ):
        session, told = begun(service)
        session.opening()
        session.receive(b"INFO {} \r\n", 1, 2)
        told.clear()
        session.receive(b"-ERR '%b'\r\n" % form.replace("\r", "").replace("\n", "").encode(), 1, 2)
        [(kind, why)] = told
        assert kind == "refused"
        if "\r" not in password and "\n" not in password:
            assert why.strip("'\"") == "{login}"


def test_nothing_shows_a_login() -> None:
    service = generic(known("nats").for_client(ClientLogins(connect=UserPassword("ada", "s3cret"))))
    session = service.session(Told())
    shown = (
        repr(service) + repr(vars(service)) + repr(session) + repr(service.session(Told())._dialect.opening)
    )
    assert "s3cret" not in shown


def test_a_variable_within_json_of_a_text_is_escaped_too() -> None:
    text = FILE.format(opening=r'"CONNECT {\"pass\":\"{env:PASS}\",\"n\":{env:N}} {env:PASS}"')
    (message,) = service_of(text, PASS='a"b\\\n', N="7").session(Told()).opening()
    assert message == b'CONNECT {"pass":"a\\"b\\\\\\n","n":7} a"b\\\n'
