"""Test requests and the replies that they cause: the record and the server's journal must agree on them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from analysis.figures.reactions import Reactions, reactions
from analysis.loading.run import Run
from loadgen.server.journal import Action
from loadgen.server.journal_reader import Journal
from loadgen.server.process import ServerProcess
from tests.system.harness import expect_by_verdict, loadgen, only_run, overrides
from tests.system.service import Service

KEY = "LOADGEN_REACTIONS_KEY"
#: Half of the people ask each desk, and one assistant replies per desk. A request's channel names the person who asks.
SCENARIO = """\
version: 1
variables:
  person: {count: 12, assign: by-client}
  desk: {count: 2, assign: by-client}
clients:
  people:
    count: 12
    ramp: 100/s
    subscribe: "/default/answers/{person}"
    publish:
      channel: "/default/questions/{desk}/{person}"
      rate_per_client: 1/s
      arrival: poisson
  assistants:
    count: 2
    respond:
      to: "/default/questions/{desk}/*"
      after: {uniform: {from: 5ms, to: 20ms}}
      publish: {channel: "/default/answers/{request.channel.4}", count: 10, every: 15ms, via: %s}
phases: {ready: probe, warmup: 500ms, measure: 3s, drain: 2s}
"""


@dataclass(frozen=True)
class Case:
    run: Run
    summary: dict[str, Any]
    chain: Reactions
    #: The server's deliveries of replies to requests of the measure phase, in the order of its decisions.
    decided: pd.DataFrame


def played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any], via: str, *options: str
) -> Case:
    """Run the scenario on a server with faults and a journal, and join the record with the journal."""
    scenario = tmp_path / "asking.yaml"
    scenario.write_text(SCENARIO % via)
    settings = tmp_path / "faults.json"
    settings.write_text(json.dumps(faults))
    arguments = ["--faults", str(settings), "--journal", str(tmp_path / "journal")]
    with ServerProcess(arguments) as server:
        monkeypatch.setenv(KEY, server.announcement.api_key)
        target = ("--target", server.announcement.http_url, "--api-key-env", KEY)
        done = loadgen("run", str(scenario), "--results", str(tmp_path / "results"), *target, *options)
    folder = only_run(tmp_path / "results")
    summary = expect_by_verdict(done, folder, lossy=bool(faults))
    run: Run = analysis.load(folder)
    chain = reactions(run)
    assert chain is not None
    return Case(run, summary, chain, _decided(run, chain, Journal.load(tmp_path / "journal")))


def _decided(run: Run, chain: Reactions, journal: Journal) -> pd.DataFrame:
    events = journal.events.to_pandas()
    events = events[(events["token"] == run.manifest["token"]) & (events["publisher"] >= 0)]
    own = {
        row["subscription"]: int(row["id"][1:])
        for row in journal.subscriptions.to_pylist()
        if row["id"][1:].isdecimal()
    }
    made = journal.deliveries.drop_columns(["written_ns"]).to_pandas()
    made["written_ns"] = pd.array(journal.deliveries.column("written_ns").to_pylist(), dtype="Int64")
    made["place"] = np.arange(len(made))
    made["subscription"] = made["subscription"].map(own)
    made = made.merge(events[["event", "publisher", "sequence"]], on="event")
    replies = pd.DataFrame(
        {
            "publisher": chain.publisher,
            "sequence": chain.sequence,
            "reply": np.arange(len(chain.publisher)),
            "cause_publisher": chain.cause_publisher,
            "cause_sequence": chain.cause_sequence,
            "requested_ns": chain.requested_ns,
        }
    )
    joined: pd.DataFrame = made.merge(replies, on=["publisher", "sequence"])
    return joined.sort_values("place", ignore_index=True)


def _after_a_later_one(decided: pd.DataFrame) -> int:
    """Return how many replies the server delivered out of order, within one request and subscription."""
    streams = decided.groupby(["cause_publisher", "cause_sequence", "subscription"])["sequence"]
    return int((decided["sequence"] < streams.cummax()).sum())


@pytest.mark.parametrize(("via", "options"), [("http", ()), ("websocket", ("--processes", "2"))])
def test_the_chain_is_that_of_the_servers_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, via: str, options: tuple[str, ...]
) -> None:
    case = played(tmp_path, monkeypatch, {}, via, *options)
    found, chain, decided = case.summary["reaction"], case.chain, case.decided
    requests, replies = found["requests"], found["replies"]
    assert requests["expected"] == requests["delivered"] == requests["answered"] >= 12
    assert (requests["uncaused"], replies["missing"], replies["lost"]) == (0, 0, 0)
    # On a busy machine, the server may process requests on several HTTP connections out of order.
    assert replies["disorder"] == _after_a_later_one(decided)
    assert replies["due"] == replies["accepted"] == replies["arrived"] == 10 * requests["delivered"]
    assert case.summary["ledger"]["balances"]
    # Each reply was published on the channel of its asker, and on no other.
    made = case.run.events.dropna(subset=["cause_publisher"])
    assert (
        made["channel"].astype(str) == "/default/answers/" + made["cause_publisher"].astype(int).astype(str)
    ).all()
    # Each recorded arrival is later than the server's write of the same delivery.
    written = decided.set_index(["publisher", "sequence", "subscription"])["written_ns"].astype("int64")
    arrivals = chain.arrivals
    keys = zip(
        chain.publisher[arrivals.reply], chain.sequence[arrivals.reply], arrivals.subscription, strict=True
    )
    there = written.loc[list(keys)].to_numpy()
    assert len(there) == len(decided) == replies["arrived"]
    # The server takes the time before it writes a delivery. So the arrival must be later; on a busy machine, by more.
    after_ns = arrivals.arrival_ns - there
    assert 0 <= after_ns.min() < 5_000_000
    # The summary counts as many first replies, and as many gaps between replies, as the journal has.
    by_stream = decided.groupby(["cause_publisher", "cause_sequence", "subscription"])
    assert found["first_ns"]["count"] == len(by_stream)
    assert found["gap_ns"]["count"] == len(decided) - len(by_stream)


def test_dropped_and_reordered_replies_are_found_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = played(
        tmp_path, monkeypatch, {"seed": 5, "drop": "4%", "reorder": "6%", "duplicate": "3%"}, "http"
    )
    chain, decided, found = case.chain, case.decided, case.summary["reaction"]
    dropped = decided[decided["action"] == Action.DROPPED]
    assert len(dropped) > 5
    assert np.flatnonzero(chain.lost).tolist() == sorted(dropped["reply"])
    assert found["replies"]["lost"] == len(dropped)
    written = decided[decided["written_ns"].notna()].drop_duplicates(["reply", "subscription"])
    highest = written.groupby(["cause_publisher", "cause_sequence", "subscription"])["sequence"].cummax()
    disordered = written[written["sequence"] < highest]
    assert len(disordered) > 5
    assert np.flatnonzero(chain.disordered).tolist() == sorted(disordered["reply"])
    assert found["replies"]["disorder"] == len(disordered)
    # A request that was lost causes no replies, so none of its replies are due or missing.
    assert found["requests"]["uncaused"] == found["requests"]["expected"] - found["requests"]["delivered"] > 0
    assert found["replies"]["due"] == 10 * found["requests"]["delivered"]
    assert found["replies"]["missing"] == 0
    done = loadgen("verify", str(case.run.path))
    assert (done.code, "all agree" in done.out) == (0, True)


def test_the_assistant_answers_token_by_token(tmp_path: Path, service: Service) -> None:
    settings = (
        "clients.people.count=6",
        "clients.people.publish.rate_per_client=30/min",
        "clients.assistants.respond.publish.count=40",
        "phases.warmup=500ms",
        "phases.measure=4s",
        "phases.drain=3s",
    )
    done = loadgen(
        "run", "assistant", "--results", str(tmp_path), *service.options, *overrides(list(settings))
    )
    folder = only_run(tmp_path)
    summary = expect_by_verdict(done, folder)
    found = summary["reaction"]
    assert found["requests"]["answered"] == found["requests"]["delivered"] > 0
    assert found["replies"]["arrived"] == found["replies"]["accepted"] == 40 * found["requests"]["delivered"]
    # In this scenario, the assistants wait 300 ms before they reply.
    assert found["first_ns"]["min"] >= 300_000_000
    assert {gate["metric"] for gate in summary["gates"]} >= {"reaction.first.p99", "reaction.gap.p99"}
    assert "reactions: " in done.out
