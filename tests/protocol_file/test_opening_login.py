"""Test protocol files whose opening message sends the client's login: valid ones, and mistakes in them."""

from pathlib import Path

import pytest

from loadgen.exits import RunError
from loadgen.protocol_file import ProtocolFile
from loadgen.run.target import Target
from loadgen.targets import protocol_of
from tests.protocol_file.test_files import SOUND, problems

HELLO = "send: {type: hello}"
OWN = 'send: {type: hello, user: "{login.username}", pass: "{login.password}"}'


@pytest.mark.parametrize(
    ("new", "logins", "anonymous"),
    [
        (HELLO, (), True),
        (OWN, ("password",), False),
        ('send: "AUTH {login.token}"', ("lambda", "oidc", "cognito"), False),
        ('send: "AUTH {login.key}"', ("api-key",), False),
        (HELLO + OWN.replace("send", "\n    with_login"), ("password",), True),
        (OWN + OWN.replace("send", "\n    with_login"), ("password",), False),
    ],
)
def test_the_file_says_how_clients_may_log_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, logins: tuple[str, ...], anonymous: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SOUND.replace(HELLO, new))
    protocol = protocol_of("mine.yaml+ws://h")
    assert (protocol.logins, protocol.anonymous) == (frozenset(logins), anonymous)
    if anonymous:
        Target.of("mine.yaml+ws://127.0.0.1:1", None)
    else:
        with pytest.raises(RunError, match="needs a key"):
            Target.of("mine.yaml+ws://127.0.0.1:1", None)


def test_on_nats_one_may_log_in_and_need_not() -> None:
    protocol = protocol_of("nats+ws://h")
    assert protocol.logins == {"password"}
    assert protocol.anonymous
    assert not protocol.variables


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            HELLO,
            'send: "AUTH {login.token} {login.key}"',
            "mine.yaml:4: opening has {login.key} and {login.token}, which no single login gives",
        ),
        (
            HELLO,
            'send: "AUTH {login.name}"',
            "mine.yaml:5: opening.0.send has the placeholder {login.name}, which is none here; known are {login.key},",
        ),
        (
            HELLO,
            'send: "CONNECT {\\"pass\\":{login.password}}"',
            'mine.yaml:5: opening.0.send has {login.password} in JSON without quotes; write "{login.password}" there',
        ),
        (
            "expect: {when: {/type: welcome}}",
            'expect: {when: {/type: welcome}}\n    with_login: "{login.key}"',
            "mine.yaml:6: opening.1 has with_login without send",
        ),
        (
            HELLO,
            f"{HELLO}\n    with_login: HI",
            "mine.yaml:6: opening.0.with_login is never sent: the file has no placeholder such as {login.password}",
        ),
        (
            "send: {type: sub,",
            'send: {type: sub, key: "{login.key}",',
            "mine.yaml:8: subscribe.send has the placeholder {login.key}, which is none here",
        ),
        (
            "send: {type: pub,",
            'send: {type: pub, key: "{login.key}",',
            "mine.yaml:12: publish.websocket.send has the placeholder {login.key}, which is none here",
        ),
        (
            "deliver:",
            'keepalive: {every: 9s, send: "{login.key}"}\ndeliver:',
            "mine.yaml:14: keepalive.send has the placeholder {login.key}, which is none here",
        ),
        (
            "deliver:",
            'replies: [{on: {when: {/a: 1}}, send: "{login.key}"}]\ndeliver:',
            "mine.yaml:14: replies.0.send has the placeholder {login.key}, which is none here",
        ),
        (
            HELLO,
            f'send: "{"[x]" * 1001}{{login.key}}"',
            "mine.yaml:5: opening.0.send has a secret and more than 1,000 brackets that begin no JSON",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    assert old in SOUND
    told = problems(tmp_path, monkeypatch, SOUND.replace(old, new, 1))
    assert [each for each in told if each.startswith(says)], told


def test_a_placeholder_in_the_description_is_none() -> None:
    file = ProtocolFile.model_validate(
        {
            "version": 1,
            "description": "Log in with {login.token} or {env:KEY}.",
            "subscribe": {"send": "S {channel}"},
            "publish": {"websocket": {"send": "P {channel} {event}"}},
            "deliver": "M {event}",
        }
    )
    assert not file.login()
    assert not file.environment()
