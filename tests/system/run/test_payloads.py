"""Test whole runs with real payloads: with handlers that rewrite, drop or refuse events, and with stamps in headers."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

import analysis
from analysis.verify.check import verify
from loadgen.server.journal_reader import Journal
from loadgen.server.process import ServerProcess
from tests.system.harness import Finished, loadgen, overrides
from tests.system.mqtt.broker import running as mosquitto
from tests.system.run.generic_servers import nats
from tests.system.run.waiting import ended_by_verdict

KEY = "da2-" + "p" * 26
API = """\
auth: {api_key: {}}
namespaces:
  open: {on_publish: "handlers.py:rewrite"}
  strict: {on_publish: "handlers.py:strict"}
"""
HANDLERS = '''\
from loadgen.server.handlers import HandlerError

KNOWN = {"meta", "text", "n", "id", "at", "who", "mood"}


def rewrite(ctx):
    """Writes each event anew; alters every third and drops every seventh of a publisher. Leaves probes alone."""
    done = []
    for event in ctx.events:
        payload = dict(reversed(event["payload"].items()))
        stamp = payload["meta"]["trace"] if "meta" in payload else payload["_lg"]
        if stamp[1] >= 0 and stamp[2] % 3 == 0:
            payload["text"] = payload["text"].upper()
        if stamp[1] < 0 or stamp[2] % 7:
            done.append({"id": event["id"], "payload": payload})
    return done


def strict(ctx):
    """Forbids members that it does not know."""
    for event in ctx.events:
        unknown = event["payload"].keys() - KNOWN
        if unknown:
            raise HandlerError(f"unknown members {sorted(unknown)}")
    return rewrite(ctx)
'''
SCENARIO = """\
version: 1
data:
  people: {{csv: people.csv, assign: random}}
{stamp}
integrity: true
clients:
  users: {{count: 4, subscribe: "/{namespace}/users/*"}}
  backend:
    count: 2
    publish:
      channel: "/{namespace}/users/{{people.id}}"
      rate: 60/s
      batch: 2
      payload:
        json:
          n: "{{seq}}"
          at: "{{now}}"
          id: "{{uuid}}"
          who: "{{people.id}}"
          mood: {{random: [good, bad, 1.50]}}
          text: "hello {{people.plan}} é"
gates: ["delivery.altered == 0"]
phases: {{warmup: 500ms, measure: 3s, drain: 1s}}
"""


@contextmanager
def serving(folder: Path, stamp: str | None) -> Iterator[str]:
    """Run a server with the handlers and a journal; yield its URL."""
    (folder / "api.yaml").write_text(API)
    (folder / "handlers.py").write_text(HANDLERS)
    options = ["--api", str(folder / "api.yaml"), "--journal", str(folder / "journal")]
    with ServerProcess([*options, *(["--stamp", stamp] if stamp else [])], api_key=KEY) as server:
        yield server.announcement.http_url


def run(folder: Path, target: str, *more: str) -> Finished:
    arguments = ("--target", target, "--results", str(folder / "results"), *more)
    return loadgen("run", str(folder / "x.yaml"), *arguments, env={"THE_KEY": KEY})


@pytest.mark.parametrize(
    ("namespace", "stamp", "place"),
    [("open", "", None), ("strict", "stamp: {pointer: /meta/trace}", "/meta/trace")],
)
def test_altered_and_dropped_events_are_found_one_by_one(
    tmp_path: Path, namespace: str, stamp: str, place: str | None
) -> None:
    (tmp_path / "people.csv").write_text("id,plan\na,free\nb,pro\nc,free\n")
    (tmp_path / "x.yaml").write_text(SCENARIO.format(namespace=namespace, stamp=stamp))
    with serving(tmp_path, place) as target:
        done = run(tmp_path, target, "--api-key-env", "THE_KEY")
    folder, summary = ended_by_verdict(done, tmp_path / "results")
    events = pd.read_parquet(folder / "events.parquet")
    accepted = {(p, s) for p, s in events[["publisher", "sequence"]].itertuples(index=False)}
    assert set(events["status"]) <= {"accepted", "unsent"}, events["error"].unique()
    assert len(accepted) > 100
    # The server's own journal lists each event that it delivered.
    journal = Journal.load(tmp_path / "journal")
    of_event = {row["event"]: (row["publisher"], row["sequence"]) for row in journal.events.to_pylist()}
    written = {
        of_event[row["event"]] for row in journal.deliveries.to_pylist() if row["written_ns"] is not None
    }
    written = {pair for pair in written if pair[0] is not None and pair[0] >= 0}
    assert written == {pair for pair in accepted if pair[1] % 7}
    altered = pd.read_parquet(folder / "altered.parquet")
    found = [(row.publisher, row.sequence, row.subscription) for row in altered.itertuples()]
    assert len(found) == len(set(found))
    subscriptions = set(pd.read_parquet(folder / "subscriptions.parquet")["subscription"])
    assert set(found) == {(p, s, to) for p, s in written if s % 3 == 0 for to in subscriptions}
    # The summary's figures cover only the measure phase.
    start, end = next((p["start_ns"], p["end_ns"]) for p in summary["phases"] if p["name"] == "measure")
    inside = events[(events["intended_ns"] >= start) & (events["intended_ns"] < end)]
    inside = inside[inside["status"] == "accepted"]
    ledger = summary["ledger"]
    kept = inside[inside["sequence"] % 7 != 0]
    assert ledger["altered"] == int((kept["sequence"] % 3 == 0).sum()) * 4 > 0
    assert ledger["lost"] == (len(inside) - len(kept)) * 4
    assert ledger["balances"]
    assert ledger["delivered"] + ledger["late"] == len(kept) * 4
    assert verify(analysis.load(folder)).disagreements == []


def test_a_strict_handler_refuses_the_usual_stamp(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("id,plan\na,free\n")
    (tmp_path / "x.yaml").write_text(SCENARIO.format(namespace="strict", stamp=""))
    with serving(tmp_path, None) as target:
        done = run(tmp_path, target, "--api-key-env", "THE_KEY", *overrides(["phases.ready_timeout=5s"]))
    assert done.code != 0
    assert "unknown members ['_lg']" in done.said


FRAMES = """\
version: 1
data:
  frames: {{jsonl: frames.jsonl, assign: in-turn}}
stamp: {stamp}
integrity: true
clients:
  users: {{count: 3, subscribe: "/cam/*"}}
  cameras:
    count: 2
    publish: {{channel: "/cam/{{frames.name}}", rate: 40/s, payload: {{base64: "{{frames.image}}"}}}}
  texts:
    count: 1
    publish: {{channel: /cam/text, rate: 20/s, payload: {{text: "{{now}} é {{seq}}"}}}}
  messages:
    count: 1
    publish: {{channel: /cam/lines, rate: 20/s, payload: {{file: m.jsonl, pick: by-weight, weight: w}}}}
phases: {{warmup: 300ms, measure: 2s, drain: 1s, echo: 100ms}}
"""


def check_frames(folder: Path, target: str, stamp: str) -> None:
    frames = [
        {"name": f"c{n}", "image": base64.b64encode(bytes([255, 0, n]) * 20 * n).decode()}
        for n in range(1, 9)
    ]
    (folder / "frames.jsonl").write_text("".join(f"{json.dumps(frame)}\n" for frame in frames))
    (folder / "m.jsonl").write_text('{"a": 1, "w": 0}\n{"b": [1.50, "é"], "w": 2.5}\n')
    (folder / "x.yaml").write_text(FRAMES.format(stamp=stamp))
    done = run(folder, target)
    record, summary = ended_by_verdict(done, folder / "results")
    ledger = summary["ledger"]
    assert (ledger["lost"], ledger["altered"], ledger["balances"]) == (0, 0, True), done.said
    assert ledger["expected"] > 300
    events = pd.read_parquet(record / "events.parquet")
    sent = events[events["status"] == "accepted"]
    # Sizes are those of the events, without the stamps in the headers.
    sizes = {f"/cam/c{n}": 60 * n for n in range(1, 9)} | {"/cam/lines": len('{"b":[1.50, "é"]}'.encode())}
    cameras = sent[sent["channel"] != "/cam/text"]
    assert set(cameras["channel"]) == set(sizes)
    assert (cameras["bytes"] == cameras["channel"].astype(str).map(sizes)).all()
    # The generator's echo events carry their stamps in headers too, so the worker recognises them as its own.
    [worker] = analysis.load(record).manifest["workers"]
    assert worker["echo"]["returned"] > 5
    assert worker["foreign"] == 0


def test_binary_events_with_stamps_in_user_properties(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as broker:
        check_frames(tmp_path, broker.tcp, "{user_property: lg}")


def test_binary_events_with_stamps_in_headers(tmp_path: Path) -> None:
    with nats(tmp_path) as url:
        check_frames(tmp_path, f"nats+{url}", "{header: Lg}")


SAME = """\
version: 1
data:
  people: {csv: people.csv, assign: random}
  own: {csv: people.csv}
clients:
  users: {count: 4, subscribe: "/default/*"}
  spread:
    count: 3
    publish:
      channel: "/default/{people.id}"
      rate: 60/s
      batch: 2
      payload: {size: {p50: 800B, p99: 2KB, max: 5KB}}
  filled:
    count: 2
    publish:
      channel: "/default/x"
      rate: 30/s
      payload: {json: {a: "{own.plan}", b: "{people.plan}", c: {random: [short, "quite a bit longer"]}}}
  lines: {count: 2, publish: {channel: /default/y, rate: 30/s, payload: {file: m.jsonl, pick: random}}}
phases: {warmup: 0s, measure: 2s, drain: 1s}
"""


def test_events_are_the_same_in_any_number_of_processes(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("".join(f"{row}\n" for row in ("id,plan", "a,x", "b,yyyyy", "c,zz")))
    (tmp_path / "m.jsonl").write_text('{"a": 1}\n{"b": "twenty characters ..."}\n{"c": [1, 2, 3]}\n')
    (tmp_path / "x.yaml").write_text(SAME)
    found = []
    for processes in ("1", "2"):
        results = tmp_path / f"results{processes}"
        done = loadgen(
            *("run", str(tmp_path / "x.yaml"), "--results", str(results), "--processes", processes)
        )
        folder, summary = ended_by_verdict(done, results)
        assert summary["ledger"]["lost"] == 0, done.said
        events = pd.read_parquet(folder / "events.parquet")
        assert set(events["status"]) <= {"accepted", "unsent"}
        # A stamp contains the run's token, whose number of digits differs between runs.
        digits = len(str(analysis.load(folder).manifest["token"]))
        sized = events["publisher"].between(4, 6)
        events.loc[~sized, "bytes"] -= digits
        sent = events[events["status"] == "accepted"]
        found.append(
            {
                (row.publisher, row.sequence): (str(row.channel), row.bytes)
                for row in sent.itertuples(index=False)
            }
        )
    both = found[0].keys() & found[1].keys()
    assert len(both) > 150
    assert {key: found[0][key] for key in both} == {key: found[1][key] for key in both}
    assert len({size for _, size in found[0].values()}) > 50
