"""Test that mistakes in a protocol file are reported in one sentence with file and line."""

import json
from pathlib import Path
from textwrap import dedent

import jsonschema
import pytest
from ruamel.yaml import YAML

from loadgen import protocol_file
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.target import Target
from loadgen.scenario import ScenarioError
from loadgen.targets import protocol_of

SOUND = """\
version: 1
connect:
  messages: json
opening:
  - send: {type: hello}
  - expect: {when: {/type: welcome}}
subscribe:
  send: {type: sub, id: "{id}", topic: "{channel}"}
  accepted: {when: {/type: subbed}, id: /id}
publish:
  websocket:
    send: {type: pub, id: "{id}", topic: "{channel}", event: "{event}"}
    accepted: {when: {/type: pubbed}, id: /id}
deliver: {when: {/type: msg}, id: /sub, event: /event}
"""


def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ScenarioError) as raised:
        protocol_of("mine.yaml+ws://h")
    return list(raised.value.problems)


def test_a_sound_file_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.fail.Exception):
        problems(tmp_path, monkeypatch, SOUND)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "messages: json",
            "mesages: json",
            "mine.yaml:3: connect.mesages is not a known key; did you mean 'messages'?",
        ),
        (
            '"{channel}", event',
            '"{chanel}", event',
            "mine.yaml:12: publish.websocket.send has the placeholder {chanel}, which is none here;"
            " known are {id},"
            " {number}, {channel}, {event}, {event_json}, {events}, {events_json}, {bytes}, {event_form}"
            " and {env:NAME}",
        ),
        (
            "event: /event}",
            "event: event}",
            "mine.yaml:14: deliver.event is not a JSON pointer: 'event' does not begin with '/'; write '/event'",
        ),
        (
            "{when: {/type: subbed}",
            "{when: {type: subbed}",
            "mine.yaml:9: subscribe.accepted.when.type is not a JSON pointer: 'type' does not begin"
            " with '/'; write '/type'",
        ),
        ("version: 1", "version: 2", "mine.yaml:1: version must be 1, not 2"),
        ("deliver:", "delivers:", "mine.yaml:14: delivers is not a known key; did you mean 'deliver'?"),
        (
            "{when: {/type: msg}, id: /sub, event: /event}",
            "'MSG {id} {event}'",
            "mine.yaml:14: deliver must be a mapping such as {when: {/type: data}}, since"
            " connect.messages is json",
        ),
        (
            "id: /sub, event: /event}",
            "number: /sub, event: /event}",
            "mine.yaml:14: deliver names the subscription by number, which subscribe.send does not send",
        ),
        (
            "event: /event}",
            "reason: /event}",
            "mine.yaml:14: deliver does not say where the event is; write {event}, or the pointer"
            " as event or event_json",
        ),
        (
            "accepted: {when: {/type: pubbed}, id: /id}",
            "refused: {when: {/type: no}, id: /id}",
            "mine.yaml:13: publish.websocket.refused is there without 'accepted', so that it"
            " belongs to no request; put"
            " it under 'errors'",
        ),
        (
            "accepted: {when: {/type: subbed}, id: /id}",
            "accepted: {when: {/type: subbed}, channel: /c, id: /id}",
            "mine.yaml:9: subscribe.accepted has more than one of id, number and channel; keep one of them",
        ),
        (
            'event: "{event}"}',
            "}",
            "mine.yaml:12: publish.websocket.send does not send the event;"
            " write {event}, or"
            " {events} for a batch",
        ),
        (
            "  messages: json",
            '  messages: json\n  url: "{target}/{channel}"',
            "mine.yaml:4: connect.url has {channel}, and there is 'subscribe' too; keep one way to subscribe",
        ),
        (
            "  messages: json",
            '  messages: json\n  url: "http://h"',
            "mine.yaml:4: connect.url must begin with {target}, 'ws://' or 'wss://'",
        ),
        (
            "  messages: json",
            '  messages: json\n  url: "{target}x"',
            "mine.yaml:4: connect.url must go on with '/' or '?' after {target}, which is a whole URL",
        ),
        (
            "  messages: json",
            "  messages: json\n  headers: {Authorization: Bearer abc}",
            "mine.yaml:4: connect.headers has"
            " the header Authorization with a value written out; put the secret into an environment"
            " variable and write"
            " {env:NAME}",
        ),
        (
            "  - send: {type: hello}",
            "  - {}",
            "mine.yaml:5: opening.0 must have either send or expect; write a separate step for each",
        ),
        (
            "  - send: {type: hello}",
            "  - send: 7",
            "mine.yaml:5: opening.0.send must be text, or a mapping or list that is sent as JSON",
        ),
        (
            "version: 1",
            "version: 1\nunsubscribe: {send: bye}\nkeepalive: {send: x, every: 10}",
            "mine.yaml:3: keepalive.every is 10 without a unit; write '10s' if that is meant",
        ),
        (
            "version: 1",
            "version: 1\nkeepalive: {send: x, timeout: 10s}",
            "mine.yaml:2: keepalive has send without every; say how often, as 'every: 30s'",
        ),
        (
            "version: 1",
            "version: 1\nkeepalive: {}",
            "mine.yaml:2: keepalive has neither every nor timeout; give it one of them, as 'every: 30s'",
        ),
        (
            "version: 1",
            "version: 1\nkeepalive: {every: 30s, timeout: 30s}",
            "mine.yaml:2: keepalive has a timeout of 30s and sends every 30s; the timeout must be longer, so that an"
            " answer can come",
        ),
        (
            "when: {/type: msg}",
            "when: {/type: 1.5}",
            "mine.yaml:14: deliver.when.'/type' must be text, a whole number, true, false or null, not 1.5",
        ),
        (
            "deliver: {when",
            "channels: {separator: ''}\ndeliver: {when",
            "mine.yaml:14: channels.separator must be one to ten printable characters, not ''",
        ),
    ],
)
def test_a_mistake_is_one_sentence_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, says: str
) -> None:
    assert old in SOUND
    assert problems(tmp_path, monkeypatch, SOUND.replace(old, new, 1)) == [says]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "mine.yaml:1: a protocol file must be a mapping that begins with 'version: 1'"),
        ("- 1", "mine.yaml:1: a protocol file must be a mapping that begins with 'version: 1'"),
        (
            'version: 1\nconnect: {url: "{target}/{channel}"}\npublish: {http: {}}\ndeliver: "{event}"\n',
            "mine.yaml:3: publish.http says nowhere to which channel: write {channel} in its url or body",
        ),
        (
            'version: 1\nconnect: {url: "{target}/{channel}"}\npublish: {http: {url: "{target}/{channel}"}}\n'
            'deliver: "{event}"\nignore: tick\n',
            "mine.yaml:5: ignore would never be seen: 'deliver' is {event} and so fits every message",
        ),
        (
            'version: 1\npublish: {websocket: {send: "{channel} {event}"}}\ndeliver: "{event}"\n',
            "mine.yaml:1: connect.url has no {channel}, and there is no 'subscribe'; say how to subscribe",
        ),
        (
            'version: 1\nconnect: {messages: lines}\nsubscribe: {send: "SUB {id} {channel}"}\n'
            'publish: {websocket: {send: "{channel} {event}"}}\ndeliver: "MSG {id}\\r\\n{event}\\r\\n"\n',
            "mine.yaml:5: deliver must have {bytes} in its first line and {event} after it, or"
            " {event} in its only line",
        ),
        (
            'version: 1\nchannels: {wildcard: "#"}\nsubscribe: {send: "SUB {channel}"}\n'
            'publish: {websocket: {send: "{channel} {event}"}}\ndeliver: "MSG {channel} {event}"\n',
            "mine.yaml:2: channels.wildcard cannot be used: a delivery names only its channel, so"
            " that its pattern would be unknown",
        ),
    ],
)
def test_what_parts_must_be_to_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    assert problems(tmp_path, monkeypatch, text) == [says]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (
            "natz+ws://h",
            "the target names the protocol 'natz', which does not come with the program; did you"
            " mean 'nats'?",
        ),
        ("gone.yaml+ws://h", "the protocol file 'gone.yaml' cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScenarioError) as raised:
        protocol_of(url)
    assert str(raised.value).startswith(says)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nats+ws://u:p@h", "holds a user name or password"),
        ("nats+ws://h?token=x", "has a query or fragment"),
        ("nats+ws://", "must be one such as 'ws://host:port'"),
        ("nats+ws://h:99999", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as raised:
        protocol_of(url).endpoints(url)
    assert "token=x" not in str(raised.value)
    assert "u:p" not in str(raised.value)


def test_a_file_of_ones_own_goes_along_to_workers_that_have_none() -> None:
    target = "elsewhere/only-there.yaml+ws://h"
    protocol = protocol_of(target, SOUND)
    assert (protocol.name, protocol.title) == ("generic:only-there", "only-there")
    assert protocol.setup(None)["protocol_file"].startswith("elsewhere/only-there.yaml (SHA-256 ")
    payload = Target(target, protocol_file=SOUND).to_payload()
    assert payload.protocol_file == SOUND
    assert Target.from_payload(payload).protocol is protocol
    # The text that came with the target applies to this target only. Elsewhere in this process, the same name
    # means the file on disk, which does not exist.
    with pytest.raises(ScenarioError, match="cannot be read"):
        protocol_of(target)


def test_a_run_keeps_to_the_file_that_was_checked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SOUND)
    target = Target.of(f"{file}+ws://h", None, allow_remote=True)
    file.write_text("version: 2")
    assert target.to_payload().protocol_file == SOUND
    assert target.protocol.title == "mine"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            {"clients.readers.subscribe": '"/default/a/*"'},
            "clients.readers.subscribe cannot be"
            " used: channel '/default/a/*'"
            " has a '*', and nchan has no wildcards: subscribe to whole channels",
        ),
        (
            {"clients.readers.subscribe": '["/default/a", "/default/b"]'},
            "clients.readers.subscribe has 2 channels, and on this target a connection has one",
        ),
        (
            {"clients.readers.churn": "{subscriptions: 1/s}"},
            "clients.readers.churn.subscriptions"
            " cannot be: on this target"
            " a subscription lasts as long as its connection",
        ),
        (
            {"clients.writers.publish.batch": "3"},
            "clients.writers.publish.batch must be 1, not 3: on this target each publish has one event",
        ),
    ],
)
def test_a_scenario_that_the_service_cannot_do_is_refused(
    tmp_path: Path, overrides: dict[str, str], says: str
) -> None:
    (tmp_path / "s.yaml").write_text(
        dedent(
            """
            version: 1
            clients:
              readers: {count: 2, subscribe: "/default/a"}
              writers: {count: 1, publish: {channel: "/default/a", rate: 1/s, via: websocket}}
            """
        )
    )
    scenario = load(str(tmp_path / "s.yaml"), target="nchan+ws://h")
    assert all(publish.over_http for publish in resolve(scenario, "nchan+ws://h").publishing.values())
    with pytest.raises(ScenarioError) as raised:
        load(str(tmp_path / "s.yaml"), overrides, target="nchan+ws://h")
    [line] = raised.value.problems
    assert says in line


def test_the_schema_takes_the_files_that_come_with_the_program_and_no_misspelling() -> None:
    schema = protocol_file.json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    yaml = YAML(typ="safe", pure=True)
    for text in (SOUND, protocol_file.text_at("nats+ws://h"), protocol_file.text_at("nchan+ws://h")):
        validator.validate(json.loads(json.dumps(yaml.load(text))))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(yaml.load(SOUND.replace("messages", "mesages")))
