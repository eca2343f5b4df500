"""Test that mistakes in protocol files of event streams are reported in one sentence with file and line."""

from pathlib import Path

import pytest

from loadgen import protocol_file
from loadgen.credentials.allowed import Allowed
from loadgen.exits import RunError
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.target import Target
from loadgen.scenario import ScenarioError
from loadgen.scenario.login import Login
from loadgen.targets import protocol_of
from tests.protocol_file.test_files import problems

SOUND = """\
version: 1
connect:
  transport: sse
  url: "{target}/sub/{channel}"
publish:
  http: {url: "{target}/pub/{channel}"}
deliver: "{event}"
"""
ONLY_COME = "server-sent events only come from the service"


def test_a_sound_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.fail.Exception):
        problems(tmp_path, monkeypatch, SOUND)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("transport: sse", "transport: sees", "mine.yaml:3: connect.transport must be 'websocket' or 'sse'"),
        ("{target}/sub", "ws://h/sub", "mine.yaml:4: connect.url must begin with {target}, 'http://'"),
        ("/sub/{channel}", "/sub", "mine.yaml:4: connect.url has no {channel}, and there is no 'subscribe'"),
        ("/sub/{channel}", "/{channel}/{channels}", "mine.yaml:4: connect.url has both {channel} and {channels}"),
        ("/sub/{channel}", "/{channels}", "mine.yaml:4: connect.url has {channels}, and 'deliver' does not name"),
        ("/sub/{channel}", "/{login.name}", "mine.yaml:4: connect.url has the placeholder {login.name}"),
        ("  url:", "  messages: lines\n  url:", "mine.yaml:4: connect.messages must be text or json"),
        ("  url:", "  frames: binary\n  url:", "mine.yaml:4: connect.frames goes with a WebSocket only"),
        ("  url:", "  subprotocols: [a]\n  url:", "mine.yaml:4: connect.subprotocols goes with a WebSocket only"),
        ("deliver:", "opening: [{send: x}]\ndeliver:", f"mine.yaml:7: opening cannot be: {ONLY_COME}"),
        ("deliver:", "replies: [{on: x, send: y}]\ndeliver:", f"mine.yaml:7: replies cannot be: {ONLY_COME}"),
        ("deliver:", "keepalive: {every: 30s}\ndeliver:", f"mine.yaml:7: keepalive.every cannot be: {ONLY_COME}"),
        (
            "  http:",
            "  websocket: {send: '{channel} {event}'}\n  http:",
            f"mine.yaml:6: publish.websocket cannot be: {ONLY_COME}",
        ),
        (
            "{target}/pub/{channel}",
            "{target}/{login.token}/{login.key}/{channel}",
            "mine.yaml:2: connect has {login.key} and {login.token}, which no single login gives",
        ),
        (
            '"{target}/pub/{channel}"}',
            '"{target}/pub", body: {topic: "{channel}", data: "{event_form}"}}',
            "mine.yaml:6: publish.http.body has {event_form} in JSON; it is for a body that is a text",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    assert old in SOUND
    told = problems(tmp_path, monkeypatch, SOUND.replace(old, new, 1))
    assert [each for each in told if each.startswith(says)], told


@pytest.mark.parametrize("key", ["events", "error_events"])
def test_events_have_names_only_in_an_event_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    text = SOUND.replace("transport: sse", f"{key}: [a]")
    (said,) = problems(tmp_path, monkeypatch, text)
    assert said == f"mine.yaml:3: connect.{key} goes with 'transport: sse' only; drop it"


def test_a_scenario_with_patterns_or_several_channels_of_a_client_is_refused(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(
        'version: 1\ntarget: {url: "nchan-sse+http://h"}\n'
        "clients: {all: {count: 1, subscribe: [/default/a, /default/b/*]}}\nphases: {measure: 1s}\n"
    )
    with pytest.raises(ScenarioError) as raised:
        resolve(load(str(tmp_path / "two.yaml")))
    assert "nchan (server-sent events) has no wildcards" in str(raised.value)


def test_the_file_says_how_clients_may_log_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    own = SOUND.replace("/sub/{channel}", "/sub/{channel}?t={login.token}")
    (tmp_path / "own.yaml").write_text(own)
    protocol = protocol_of("own.yaml+http://h")
    assert protocol.logins == {"lambda", "oidc", "cognito"}
    assert not protocol.anonymous
    assert protocol_of("nchan-sse+http://h").logins == frozenset()
    with pytest.raises(RunError, match="needs a key"):
        Target.of("own.yaml+http://127.0.0.1:1", None)


def test_a_login_and_a_variable_may_stand_in_one_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    own = SOUND.replace("/sub/{channel}", "/sub/{channel}?t={login.token}")
    (tmp_path / "both.yaml").write_text(
        own.replace('url: "{target}/pub', 'headers: {authorization: "{env:PUBLISHER}"}, url: "{target}/pub')
    )
    monkeypatch.setenv("PUBLISHER", "p")
    monkeypatch.setenv("MINE", "m/1")
    login = Login.model_validate({"mode": "lambda", "token_env": "MINE"})
    target = Target.of("both.yaml+http://127.0.0.1:1", login, allowed=Allowed.of(["PUBLISHER", "MINE"]))
    service = target.service()
    assert service.handshake(["/a"]).resource == "/sub//a?t=m%2F1"
    assert service.http_publish("/a", ["{}"]).headers == {"authorization": "p"}


def test_the_addresses_are_those_of_http() -> None:
    protocol = protocol_file.protocol_at("nchan-sse+wss://h:1/base")
    endpoints = protocol.endpoints("nchan-sse+wss://h:1/base")
    assert endpoints.describe() == {
        "url": "nchan-sse+wss://h:1/base",
        "http_url": "https://h:1/base/pub/{channel}",
        "ws_url": "https://h:1/base/sub/{channel}",
    }
    assert protocol.setup(endpoints)["carried by"] == "server-sent events over HTTP/1.1"
