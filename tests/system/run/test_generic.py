"""Test targets with a protocol file: whole runs on real servers, and messages about mistakes."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pandas as pd
import pytest

from loadgen.client.probe import FILE_ADVICE, Probe
from loadgen.client.steps import Step
from loadgen.credentials.allowed import Allowed
from loadgen.exits import ExitCode, RunError
from loadgen.protocol_file import text_at
from loadgen.run.target import Target
from loadgen.run.target_check import check
from loadgen.server.process import Announcement, ServerProcess
from loadgen.targets import protocol_of
from tests.system.harness import loadgen, overrides, read
from tests.system.run import generic_servers
from tests.system.run.echoes import check_echoes
from tests.system.run.waiting import ended_by_verdict
from tests.system.users.player import Player

CHAT = (
    "gates=[]",
    "variables.room.count=4",
    "clients.writers.count=12",
    "clients.writers.publish.rate_per_client=4/s",
    "clients.lurkers.count=12",
    "phases.warmup=200ms",
    "phases.measure=1500ms",
    "phases.drain=500ms",
)
COMMENTS = (
    "gates=[]",
    "clients.readers.count=30",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=3",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=200ms",
    "phases.measure=1500ms",
    "phases.drain=500ms",
)


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with generic_servers.nats(tmp_path_factory.mktemp("nats")) as url:
        yield url


@pytest.fixture(scope="module")
def nchan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with generic_servers.nchan(tmp_path_factory.mktemp("nchan")) as url:
        yield url


@pytest.fixture(scope="module")
def embedded() -> Iterator[Announcement]:
    with ServerProcess([]) as process:
        yield process.announcement


def complete_run(tmp_path: Path, scenario: str, target: str, settings: tuple[str, ...], via: str) -> Path:
    """Run a scenario with an echo lane; check that no delivery is lost and that `loadgen verify` agrees."""
    finished = loadgen(
        *("run", scenario, "--target", target, "--results", str(tmp_path)),
        *overrides((*settings, "phases.echo=100ms")),
    )
    run, summary = ended_by_verdict(finished, tmp_path)
    manifest = read(run / "manifest.json")
    ledger = summary["ledger"]
    assert ledger["balances"]
    # On a busy machine some deliveries are late, but none is lost.
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 100
    assert (ledger["lost"], ledger["duplicates"]) == (0, 0)
    assert set(pd.read_parquet(run / "events.parquet")["status"]) == {"accepted"}
    (worker,) = manifest["workers"]
    assert worker["undecodable"] == 0
    check_echoes(worker, 17, via)
    assert pd.read_parquet(run / "connections.parquet")["kernel_timestamps"].all()
    deliveries = pd.read_parquet(run / "deliveries.parquet")
    assert (deliveries["arrival_ns"] <= deliveries["read_ns"]).all()
    verified = loadgen("verify", str(run))
    assert verified.code == 0, verified.said
    assert "all agree" in verified.out
    return run


def test_comments_on_nats_with_wildcards_and_publishes_over_connections_of_their_own(
    tmp_path: Path, nats: str
) -> None:
    target = f"nats+{nats}"
    run = complete_run(tmp_path, "comments", target, COMMENTS, "websocket")
    described = read(run / "manifest.json")["target"]
    assert (described["protocol"], described["service"], described["url"]) == ("generic:nats", "NATS", target)
    assert described["setup"]["wildcards"] == "/* is >"
    assert len(pd.read_parquet(run / "connections.parquet")["connection"].unique()) == 33


def test_chat_on_nchan_with_a_socket_a_channel_and_publishes_over_http(tmp_path: Path, nchan: str) -> None:
    run = complete_run(tmp_path, "chat", f"nchan+{nchan}", CHAT, "http")
    subscriptions = pd.read_parquet(run / "subscriptions.parquet")
    # The URL names the channel, so the answer to the upgrade acknowledges the subscription.
    assert (subscriptions["acknowledged_ns"] >= subscriptions["requested_ns"]).all()
    assert subscriptions["ready_ns"].notna().all()


def test_where_nothing_is_answered_nothing_is_said_to_be(tmp_path: Path, nats: str) -> None:
    """Without verbose mode, NATS answers neither subscribes nor publishes; only probes show that subscriptions work."""
    text = text_at("nats+ws://h").replace('\\"verbose\\":true', '\\"verbose\\":false')
    text = text.replace('\\"headers\\":true}\\r\\n', '\\"headers\\":true}\\r\\nPING\\r\\n').replace(
        'expect: "+OK"', "expect: PONG"
    )
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("accepted:", "refused:"))]
    file = tmp_path / "quiet.yaml"
    file.write_text("\n".join(lines))
    finished = loadgen(
        "run", "chat", "--target", f"{file}+{nats}", "--results", str(tmp_path), *overrides(CHAT)
    )
    run, _ = ended_by_verdict(finished, tmp_path)
    subscriptions = pd.read_parquet(run / "subscriptions.parquet")
    assert subscriptions["acknowledged_ns"].isna().all()
    assert (subscriptions["ready_ns"] >= subscriptions["requested_ns"]).all()
    events = pd.read_parquet(run / "events.parquet")
    assert set(events["status"]) == {"sent"}
    assert events["acked_ns"].isna().all()
    # Each room has three clients that write and three that only read.
    assert len(pd.read_parquet(run / "deliveries.parquet")) == 6 * len(events) > 100


#: A protocol file for our own server. The harness has code for the server's protocol, but must work with this file too.
EVENTS_API = """
    version: 1
    title: Events by file
    channels: {wildcard: "*"}
    connect:
      url: "{target}/event/realtime"
      subprotocols: [aws-appsync-event-ws, "header-{env:EVENTS_HEADER}"]
      messages: json
    opening:
      - send: {type: connection_init}
      - expect: {when: {/type: connection_ack}}
    subscribe:
      send: {type: subscribe, id: "{id}", channel: "{channel}", authorization: &key {x-api-key: "{env:EVENTS_KEY}"}}
      accepted: {when: {/type: subscribe_success}, id: /id}
      refused: {when: {/type: subscribe_error}, id: /id, reason: /errors/0/message}
    unsubscribe: {send: {type: unsubscribe, id: "{id}"}}
    publish:
      websocket:
        send: {type: publish, id: "{id}", channel: "{channel}", events: "{events}", authorization: *key}
        accepted: {when: {/type: publish_success}, id: /id}
        refused: {when: {/type: publish_error}, id: /id, reason: /errors/0/message}
      http:
        url: "{target}/event"
        headers: {content-type: application/json, x-api-key: "{env:EVENTS_KEY}"}
        body: {channel: "{channel}", events: "{events}"}
    deliver: {when: {/type: data}, id: /id, event: /event}
    ignore: [{when: {/type: ka}}, {when: {/type: unsubscribe_success}}]
"""


def test_a_json_protocol_with_logins_batches_and_both_ways_to_publish(
    tmp_path: Path, embedded: Announcement, commands: Player
) -> None:
    file = tmp_path / "events.yaml"
    file.write_text(dedent(EVENTS_API))
    base = embedded.http_url.removesuffix("/event").replace("http", "ws", 1)
    host = base.partition("://")[2]
    header = json.dumps({"host": host, "x-api-key": embedded.api_key}).encode()
    env = {
        "EVENTS_KEY": embedded.api_key,
        "EVENTS_HEADER": base64.urlsafe_b64encode(header).decode().rstrip("="),
    }
    target = f"{file}+{base}"
    refused = commands.command(tmp_path, "loadgen", "probe", "--target", target, "--json", env=env)
    assert refused.code == 2, refused.said
    assert "allow it with --allow-env EVENTS_HEADER" in refused.err
    allowed = ("--allow-env", "EVENTS_KEY", "--allow-env", "EVENTS_HEADER")
    probed = loadgen("probe", "--target", target, "--json", *allowed, env=env)
    assert probed.code == 0, probed.said
    rows = [json.loads(line) for line in probed.out.splitlines()]
    ways = ["publish over HTTP", "delivery", "publish over WebSocket", "delivery"]
    assert [row["name"] for row in rows][-6:] == [*ways, "deep wildcard", "wrong login"]
    assert (rows[-1]["ok"], rows[-1]["detail"]) == (
        None,
        "skipped: which part of the protocol file is the login is not known",
    )
    settings = (*COMMENTS, "clients.commenters.publish.batch=5", "clients.readers.churn={subscriptions: 5/s}")
    run = tmp_path / "results"
    finished = loadgen(
        "run", "comments", "--target", target, "--results", str(run), *allowed, *overrides(settings), env=env
    )
    ledger = ended_by_verdict(finished, run)[1]["ledger"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 100
    assert ledger["lost"] == 0
    for secret in env.values():
        assert not [
            path for path in run.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()
        ]
        assert secret not in finished.said + probed.said


def test_a_refusal_is_told(nats: str, tmp_path: Path, commands: Player) -> None:
    published = commands.command(
        tmp_path, "loadgen", "publish", "/secret/a", "{}", "--target", f"nats+{nats}"
    )
    assert published.code == 4, published.said
    assert "Permissions Violation for Publish to" in published.err


def test_a_wrong_password_is_told_without_it(
    tmp_path: Path, nats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "login.yaml"
    file.write_text(
        text_at("nats+ws://h").replace(
            '\\"verbose\\":true', '\\"verbose\\":true,\\"user\\":\\"loadgen\\",\\"pass\\":\\"{env:PASS}\\"'
        )
    )
    target = f"{file}+{nats}"
    monkeypatch.delenv("PASS", raising=False)
    with pytest.raises(
        RunError, match="variable PASS, which the protocol file of NATS names, is not set"
    ) as unset:
        Target.of(target, None, allowed=Allowed.of(["PASS"]))
    monkeypatch.setenv("PASS", "wr0ng-one")
    sentence = "refused us: 'Authorization Violation'; compare 'connect' and 'opening'"
    with pytest.raises(RunError, match=sentence) as refused:
        check(Target.of(target, None, allowed=Allowed.of(["PASS"])))
    assert "wr0ng-one" not in str(refused.value)
    assert (unset.value.code, refused.value.code) == (ExitCode.USAGE, ExitCode.TARGET)
    monkeypatch.setenv("PASS", "p4ss-w0rd")
    check(Target.of(target, None, allowed=Allowed.of(["PASS"])))


def test_a_server_that_answers_otherwise_is_told_with_what_was_expected_and_what_came(
    tmp_path: Path, nats: str, nchan: str, commands: Player
) -> None:
    file = tmp_path / "other.yaml"
    file.write_text(text_at("nats+ws://h").replace('- expect: "+OK"', '- expect: "WELCOME {*}"'))
    run = ("loadgen", "run", "chat", "--target", f"{file}+{nats}", "--results", str(tmp_path))
    finished = commands.command(tmp_path, *run)
    assert finished.code == 4, finished.said
    said = " ".join(finished.err.split())
    assert "opening.2 of the protocol file expects 'WELCOME {*}', and the service sent '+OK'" in said
    assert len(finished.sentences) == 1
    with pytest.raises(RunError, match=r"refused the WebSocket handshake: .*HTTP 40[34]") as other:
        check(Target.of(f"nats+{nchan}", None))
    assert other.value.code == ExitCode.TARGET
    probed = list(_probe(f"{file}+{nats}"))
    assert [step.name for step in probed if step.ok is False] == ["login"]
    assert "expects 'WELCOME {*}', and the service sent '+OK'" in probed[4].detail


def _probe(target: str) -> Iterator[Step]:
    protocol = protocol_of(target)
    service = protocol.service(protocol.endpoints(target), None)
    yield from Probe(service, "/default/a", over_http=False, advice=FILE_ADVICE).run()
