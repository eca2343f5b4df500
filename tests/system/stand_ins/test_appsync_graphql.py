"""Test whole runs on the stand-in for AppSync GraphQL: the ledger agrees with its journal of losses."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

import analysis
from analysis.loading.run import Run
from analysis.verify.check import verify
from loadgen import native
from loadgen.server.process import ServerProcess
from tests.system.harness import (
    SMALL,
    Finished,
    command_lines,
    expect_by_verdict,
    loadgen,
    only_run,
    overrides,
    read,
)
from tests.system.run.pages import page

KEY = "LOADGEN_GRAPHQL_KEY"
#: GraphQL has no wildcards, so each reader subscribes to one of an article's threads.
COMMENTS = (
    *SMALL,
    'clients.readers.subscribe="/default/comments/{article}/{thread}"',
    "variables.article.count=3",
)
Pairs = set[tuple[int, int, int]]


def stand_in(*options: str, journal: Path | None = None) -> ServerProcess:
    written = [part for each in options for part in ("--option", each)]
    more = [] if journal is None else ["--journal", str(journal)]
    return ServerProcess(
        ["--service", "appsync-graphql", *written, *more], module="loadgen.stand_ins", api_key="da2-key"
    )


def run(
    server: ServerProcess, scenario: str, results: Path, settings: Sequence[str] = (), *more: str, **env: str
) -> Finished:
    target = ("--target", server.announcement.http_url, "--api-key-env", KEY)
    return loadgen(
        *("run", scenario, *target, "--results", str(results), *overrides(settings), *more),
        env={KEY: "da2-key", **env},
    )


def lost_by(journal: Path, why: str, token: int) -> Pairs:
    """Return a run's losses for one reason, as (publisher, sequence, subscription)."""
    found: Pairs = set()
    for row in map(json.loads, journal.read_text().splitlines()):
        assert row["why"] == why
        stamped, publisher, sequence = row["stamp"]
        # A subscription has the id `s<number>`, or `s<number>-<turn>` if it was requested again.
        number = int(row["subscription"][1:].partition("-")[0])
        if stamped == token:
            found.add((publisher, sequence, number))
    return found


def measured(made: Run, table: str, columns: list[str]) -> pd.DataFrame:
    assert made.measure is not None
    frame: pd.DataFrame = made.table(table, columns, made.measure).to_pandas()
    return frame


def of_measure(made: Run, pairs: Pairs) -> Pairs:
    events = measured(made, "events", ["publisher", "sequence", "intended_ns"])
    known = set(zip(events["publisher"].tolist(), events["sequence"].tolist(), strict=True))
    return {pair for pair in pairs if pair[:2] in known}


def received(made: Run) -> Pairs:
    rows = measured(made, "deliveries", ["publisher", "sequence", "subscription", "intended_ns"])
    return set(zip(*(rows[name].tolist() for name in ("publisher", "sequence", "subscription")), strict=True))


def lost_by_subscription(folder: Path) -> dict[int, int]:
    """Return the number of losses in the ledger, by subscription."""
    table = pd.read_parquet(folder / "ledger.parquet")
    rows = table[table["dimension"] == "subscription"]
    lost = rows["lost_before_ready"] + rows["lost_in_reconnect"] + rows["lost_otherwise"]
    return {int(key): int(count) for key, count in zip(rows["key"], lost, strict=True) if count}


def counted(pairs: Pairs) -> dict[int, int]:
    return dict(Counter(pair[2] for pair in pairs))


def demand_well_measured(folder: Path, summary: dict[str, Any]) -> None:
    """Assert that a run used kernel timestamps and the C receive path, if available, and that its results verify."""
    manifest = read(folder / "manifest.json")
    assert manifest["target"]["protocol"] == "appsync-graphql"
    for worker in manifest["workers"]:
        assert worker["receive_path"] == ("native" if native.available else "python")
        assert worker["deviations"] == {}
        assert (worker["foreign"], worker["undecodable"], worker["unknown_subscription"]) == (0, 0, 0)
    assert summary["connections"]["errors"] == {}
    if sys.platform == "linux":
        assert summary["connections"]["kernel_timestamps"] == 1.0
    assert summary["cost"] is None
    assert verify(analysis.load(folder)).disagreements == []


def test_every_fiftieth_delivery_is_lost_and_the_ledger_finds_each(tmp_path: Path) -> None:
    journal, results = tmp_path / "lost.jsonl", tmp_path / "results"
    with stand_in("lose-every=50", journal=journal) as server:
        done = run(server, "comments", results, COMMENTS)
    folder = only_run(results)
    summary = expect_by_verdict(done, folder, lossy=True)
    demand_well_measured(folder, summary)
    made = analysis.load(folder)
    lost = of_measure(made, lost_by(journal, "every", made.manifest["token"]))
    assert len(lost) > 5
    assert summary["ledger"]["lost"] == len(lost)
    assert lost_by_subscription(folder) == counted(lost)
    assert not lost & received(made)
    assert f"AWS AppSync GraphQL · {server.announcement.http_url}" in done.out


def test_a_service_that_loses_nothing_is_seen_so_with_the_authorization_in_the_query(tmp_path: Path) -> None:
    with stand_in("awsjson=rewrite", "ka-interval=0.3") as server:
        target = ("--target", f"{server.announcement.http_url}?auth=query")
        done = loadgen(
            *("run", "comments", *target, "--api-key-env", KEY, "--results", str(tmp_path), "--report"),
            *overrides(COMMENTS),
            env={KEY: "da2-key"},
        )
    folder = only_run(tmp_path)
    summary = expect_by_verdict(done, folder)
    demand_well_measured(folder, summary)
    setup = read(folder / "manifest.json")["target"]["setup"]
    assert setup["authorization of connections"] == "in the query"
    assert setup["operations"] == "mutation publish, subscription subscribe"
    kept = "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert "da2-key" not in kept + done.out + done.err
    assert "AWS AppSync GraphQL" in page(folder)


def test_what_is_lost_after_start_ack_is_over_before_a_subscription_counts_as_ready(tmp_path: Path) -> None:
    journal, results = tmp_path / "lost.jsonl", tmp_path / "results"
    with stand_in("lose-after-start-ack-ms=400", journal=journal) as server:
        done = run(server, "comments", results, COMMENTS)
    folder = only_run(results)
    summary = expect_by_verdict(done, folder)
    demand_well_measured(folder, summary)
    made = analysis.load(folder)
    # Probes were lost, but no event of the measure phase.
    assert journal.read_text()
    assert of_measure(made, lost_by(journal, "after-start-ack", made.manifest["token"])) == set()
    ready = made.subscriptions[made.subscriptions["ready_ns"].notna()]
    assert len(ready) == 40
    assert (ready["ready_ns"] - ready["acknowledged_ns"]).min() > 300_000_000


#: A scenario with few clients, all of which connect while the service still loses their events.
UNPROVEN = """version: 1
variables:
  topic: {count: 4}
clients:
  readers: {count: 8, ramp: 100/s, subscribe: "/default/{topic}"}
  writers: {count: 2, publish: {channel: "/default/{topic}", rate: 60/s}}
phases: {ready: {settle: 1ms}, warmup: 100ms, measure: 9s, drain: 1s}
"""


@pytest.mark.long
def test_without_a_probe_each_loss_after_start_ack_is_found(tmp_path: Path) -> None:
    scenario, journal, results = tmp_path / "unproven.yaml", tmp_path / "lost.jsonl", tmp_path / "results"
    scenario.write_text(UNPROVEN)
    with stand_in("lose-after-start-ack-ms=7000", journal=journal) as server:
        done = run(server, str(scenario), results)
    folder = only_run(results)
    summary = expect_by_verdict(done, folder, lossy=True)
    demand_well_measured(folder, summary)
    made = analysis.load(folder)
    lost = of_measure(made, lost_by(journal, "after-start-ack", made.manifest["token"]))
    assert len(lost) > 20
    assert summary["ledger"]["lost"] == len(lost)
    assert lost_by_subscription(folder) == counted(lost)
    assert not lost & received(made)
    assert summary["ledger"]["delivered"] + summary["ledger"]["late"] == len(received(made)) > 0


COMING_AND_GOING = """version: 1
integrity: true
variables: {topic: {count: 4}}
clients:
  movers:
    count: 10
    subscribe: ["/default/{topic}", "/default/x/{topic}"]
    churn: {subscriptions: 20/s, away: 100ms}
  dropped:
    count: 10
    subscribe: "/default/{topic}"
    reconnect: {first: 200ms, jitter: none}
    drops: [{at: 500ms, share: 50%}, {at: 1500ms, share: 50%, close: frame}]
  writers: {count: 2, publish: {channel: "/default/{topic}", rate: 80/s, via: websocket}}
  deep:
    count: 1
    publish: {channel: "/default/x/{topic}", rate: 40/s, payload: {json: {n: 1, t: 'ä"\\'}}}
phases: {warmup: 300ms, measure: 3s, drain: 1s, echo: 100ms}
"""


def test_clients_come_and_go_and_json_that_is_written_anew_counts_as_unaltered(tmp_path: Path) -> None:
    scenario, results = tmp_path / "coming-and-going.yaml", tmp_path / "results"
    scenario.write_text(COMING_AND_GOING)
    with stand_in("awsjson=rewrite") as server:
        done = run(server, str(scenario), results, (), "--processes", "2")
    folder = only_run(results)
    summary = expect_by_verdict(done, folder)
    demand_well_measured(folder, summary)
    assert summary["ledger"]["altered"] == 0
    purpose = summary["recovery"]["on_purpose"]
    assert purpose["dropped"] == 10
    assert purpose["unsubscribed"] > 20
    for worker in read(folder / "manifest.json")["workers"]:
        assert worker["echo"]["via"] == "http"
        assert worker["echo"]["returned"] > 10
        assert worker["echo"]["errors"] == {}


def test_subscribing_too_fast_is_refused_without_an_id_and_tried_again(tmp_path: Path) -> None:
    with stand_in("starts-per-s=8") as server:
        done = run(server, "comments", tmp_path, COMMENTS)
    folder = only_run(tmp_path)
    summary = expect_by_verdict(done, folder)
    made = analysis.load(folder)
    subscriptions = made.subscriptions
    refused = subscriptions[subscriptions["error"].notna()]
    assert len(refused) > 5
    assert set(refused["error"]) == {"LimitExceededError: Rate limit exceeded"}
    assert subscriptions[subscriptions["ready_ns"].notna()]["subscription"].nunique() == 40
    assert summary["ledger"]["lost"] == 0


IDS = [str(UUID(int=7_000_000_007 * (number + 1), version=4)) for number in range(60)]
AUTHORIZER = """
def decide(event, context=None):
    token, operation = event["authorizationToken"], event["requestContext"]["operation"]
    with open("{log}", "a") as log:
        log.write(operation + " " + token + "\\n")
    return {{"isAuthorized": token.startswith("tok-"), "ttlOverride": 0}}
"""
API = """
auth:
  lambda: {function: "authorizer.py:decide"}
  connect: [API_KEY, AWS_LAMBDA]
  publish: [API_KEY]
  subscribe: [AWS_LAMBDA, API_KEY]
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_of_the_notifications_users_has_an_identity_of_its_own(processes: str, tmp_path: Path) -> None:
    copied = loadgen("scenarios", "notifications", "--copy", str(tmp_path))
    assert copied.code == 0, copied.said
    scenario, log, results = tmp_path / "notifications.yaml", tmp_path / "seen", tmp_path / "results"
    (tmp_path / "people.csv").write_text("id,token\n" + "".join(f"{name},tok-{name}\n" for name in IDS))
    (tmp_path / "authorizer.py").write_text(AUTHORIZER.format(log=log))
    (tmp_path / "api.yaml").write_text(API)
    settings = [
        "variables={}",
        "data={people: {csv: people.csv, secret: [token]}, anyone: {csv: people.csv, assign: random}}",
        f"clients.users.count={len(IDS)}",
        'clients.users.subscribe="/default/user/{people.id}"',
        'clients.users.login={mode: lambda, token: "{people.token}"}',
        'clients.backend.publish.channel="/default/user/{anyone.id}"',
        "clients.backend.publish.rate=100/s",
        *("phases.warmup=500ms", "phases.measure=2s", "phases.drain=1s", "gates=[]"),
    ]
    with stand_in(f"api={tmp_path / 'api.yaml'}") as server, command_lines() as listed:
        done = run(server, str(scenario), results, settings, "--processes", processes)
    folder = only_run(results)
    summary = expect_by_verdict(done, folder)
    demand_well_measured(folder, summary)
    # Each user connected and subscribed with the token in its row.
    seen = set(log.read_text().splitlines())
    assert {line for line in seen if "tok-" in line} == {
        f"{operation} tok-{name}" for name in IDS for operation in ("EVENT_CONNECT", "EVENT_SUBSCRIBE")
    }
    made = analysis.load(folder)
    channels = made.subscriptions.drop_duplicates("subscription").set_index("subscription")["channel"]
    assert channels.to_dict() == {number: f"/default/user/{name}" for number, name in enumerate(IDS)}
    kept = "".join(path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file())
    assert "tok-" not in kept + done.out + done.err + "".join(listed)
    told = read(folder / "manifest.json")["target"]["setup"]
    assert told["login of users"] == "lambda from column people.token of people.csv"


SCHEMA = """
type Message { at: AWSTimestamp body: String! }
type Post { room: ID! message: Message }
input Written { body: String! }
type Query { posts: Post }
type Mutation { post(room: ID!, message: Written): Post }
type Subscription { posted(room: ID!): Post @aws_subscribe(mutations: ["post"]) }
"""
OPERATIONS = """
mutation Send($channel: ID!, $data: String!) {
  post(room: $channel, message: {body: $data}) { room message { at body } }
}
subscription Hear($channel: ID!) { posted(room: $channel) { message { at data: body } } }
"""


def test_an_api_of_ones_own_is_used_by_its_operations_on_every_worker(tmp_path: Path) -> None:
    (tmp_path / "schema.graphql").write_text(SCHEMA)
    (tmp_path / "operations.graphql").write_text(OPERATIONS)
    results = tmp_path / "results"
    with stand_in(f"schema={tmp_path / 'schema.graphql'}") as server:
        url = f"{server.announcement.http_url}?operations={tmp_path / 'operations.graphql'}"
        done = loadgen(
            *("run", "comments", "--target", url, "--api-key-env", KEY, "--results", str(results)),
            *("--processes", "2", *overrides(COMMENTS)),
            env={KEY: "da2-key"},
        )
        refused = loadgen(
            *("probe", "--target", server.announcement.http_url, "--json"), env={"LOADGEN_API_KEY": "da2-key"}
        )
    folder = only_run(results)
    summary = expect_by_verdict(done, folder)
    demand_well_measured(folder, summary)
    setup = read(folder / "manifest.json")["target"]["setup"]
    assert setup["operations"].startswith("mutation post, subscription posted (file ")
    # `loadgen probe` was not given the operations file, and the default operations do not fit this schema. So the probe
    # advises to give such a file.
    step = next(each for each in map(json.loads, refused.out.splitlines()) if each["ok"] is False)
    assert step["name"] == "subscribe"
    assert "Validation error" in step["detail"]
    assert "operations file" in step["advice"]


def test_a_scenario_with_wildcards_or_batches_is_refused_in_a_sentence_each(tmp_path: Path) -> None:
    target = ("--target", "http://127.0.0.1:9/graphql", "--api-key-env", KEY)
    refused = loadgen(
        *(
            "run",
            "comments",
            *target,
            "--results",
            str(tmp_path),
            *overrides(["clients.commenters.publish.batch=5"]),
        ),
        env={KEY: "da2-key"},
    )
    assert refused.code == 2
    wildcard, batch = sorted(refused.sentences, key=lambda line: "batch" in line)
    assert "has a '*', and AWS AppSync GraphQL has no wildcards: subscribe to whole channels" in wildcard
    assert "must be 1, not 5: on this target each publish has one event" in batch
    assert not list(tmp_path.iterdir())


def test_the_quota_of_subscriptions_is_named_when_the_service_refuses_one(tmp_path: Path) -> None:
    scenario = tmp_path / "many.yaml"
    channels = ", ".join(f'"/default/{number}"' for number in range(6))
    scenario.write_text(
        f"version: 1\nclients:\n  readers: {{count: 2, subscribe: [{channels}]}}\n"
        '  writers: {count: 1, publish: {channel: "/default/1", rate: 5/s}}\n'
        "phases: {warmup: 100ms, measure: 500ms, drain: 100ms}\n"
    )
    with stand_in("subscriptions-per-connection=5") as server:
        done = run(server, str(scenario), tmp_path / "results")
    assert done.code == 4, done.said
    assert "MaxSubscriptionsReachedError: Max number of 5 subscriptions reached" in done.err
    assert "spread the subscriptions over more clients" in done.err


#: The protocol file that was used before the harness had code for this protocol; it supports API keys only.
PROTOCOL_FILE = """version: 1
title: AppSync GraphQL
connect:
  url: "{target}/graphql?header={env:APPSYNC_HEADER}&payload=e30%3D"
  subprotocols: [graphql-ws]
  messages: json
opening:
  - send: {type: connection_init}
  - expect: {when: {/type: connection_ack}}
subscribe:
  send:
    id: "{id}"
    type: start
    payload:
      data: '{"query":"subscription S($n: String!) {subscribe(name: $n) {name data}}","variables":{"n":"{channel}"}}'
      extensions: {authorization: {host: "127.0.0.1:8299", x-api-key: "{env:APPSYNC_KEY}"}}
  accepted: {when: {/type: start_ack}, id: /id}
  refused: {when: {/type: error}, id: /id, reason: /payload/errors/0/errorType}
unsubscribe:
  send: {id: "{id}", type: stop}
  accepted: {when: {/type: complete}, id: /id}
publish:
  http:
    url: "{target}/graphql"
    headers: {content-type: application/json, x-api-key: "{env:APPSYNC_KEY}"}
    body:
      query: "mutation P($n: String!, $d: AWSJSON!) { publish(name: $n, data: $d) { name data } }"
      variables: {n: "{channel}", d: "{event}"}
    expect: [200]
deliver: {when: {/type: data}, id: /id, event: /payload/data/subscribe/data}
ignore:
  - {when: {/type: ka}}
"""


def test_a_protocol_file_for_the_service_works_against_the_stand_in(tmp_path: Path) -> None:
    file = tmp_path / "appsync-graphql.yaml"
    file.write_text(PROTOCOL_FILE)
    header = "eyJob3N0IjoiMTI3LjAuMC4xIiwieC1hcGkta2V5IjoiZGEyLWtleSJ9"
    with stand_in() as server:
        host = server.announcement.http_url.removeprefix("http://").removesuffix("/graphql")
        probed = loadgen(
            *("probe", "--target", f"{file}+ws://{host}", "--json"),
            *("--allow-env", "APPSYNC_HEADER", "--allow-env", "APPSYNC_KEY"),
            env={"APPSYNC_HEADER": header, "APPSYNC_KEY": "da2-key"},
        )
    steps = [json.loads(line) for line in probed.out.splitlines()]
    # GraphQL has no wildcards to probe. A protocol file does not say which of its parts is the login, so the
    # probe cannot send a wrong one.
    skipped = {step["name"]: step["ok"] for step in steps if not step["ok"]}
    assert skipped == {"deep wildcard": None, "wrong login": None}, probed.said
    assert "delivery" in {step["name"] for step in steps}
