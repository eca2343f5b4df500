"""Test plans of scenarios with payloads: sizes and billed units are those of the events."""

from pathlib import Path

import pytest

from loadgen.payloads.plans import SizeShare
from loadgen.planning.estimate import estimate
from loadgen.planning.prices import load_prices
from loadgen.resolve import ResolvedRun
from loadgen.resolve.resolver import run_of

SCENARIO = """\
version: 1
data:
  people: {{csv: people.csv}}
  anyone: {{csv: people.csv, assign: random}}
clients:
  users: {{count: 2, subscribe: "/default/{{people.id}}"}}
  backend:
    count: 1
    publish: {{channel: "/default/{{anyone.id}}", rate: 10/s, payload: {payload}}}
phases: {{warmup: 0s, measure: 10s}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,text\na,x\nb," + "y" * 6000 + "\n")
    Path("m.jsonl").write_text('{"a": 1}\n{"a": "' + "z" * 12_000 + '"}\n')


def planned(payload: str) -> tuple[ResolvedRun, dict[str, float | None], float | None]:
    Path("x.yaml").write_text(SCENARIO.format(payload=payload))
    run, tables = run_of("x.yaml")
    with tables:
        found = estimate(run, load_prices(None))
        usage = found.cost.usage
        return run, dict(usage.operations), usage.bytes_out


@pytest.mark.parametrize(
    ("payload", "units", "bytes_each"),
    [
        ("200B", 1.0, 200),
        ("{file: m.jsonl}", (1 + 3) / 2, 6075),
        ('{json: {text: "{anyone.text}"}}', (1 + 2) / 2, 3079),
        ("{size: {p50: 6KB, p99: 6KB, max: 6KB}}", 2.0, 6000),
    ],
)
def test_units_and_bytes_are_those_of_each_event(payload: str, units: float, bytes_each: float) -> None:
    run, operations, bytes_out = planned(payload)
    assert operations["publish"] == pytest.approx(100 * units)
    # Each row of people.csv has a channel with one subscriber, so each event is delivered once.
    assert operations["delivery"] == pytest.approx(100 * units)
    assert bytes_out == pytest.approx(100 * bytes_each, rel=0.01)
    assert run.publishing["backend"].units(5120) == pytest.approx(units)


def test_shares_of_a_run_without_a_spread_are_its_size() -> None:
    run, _, _ = planned("200B")
    publish = run.publishing["backend"]
    assert (publish.sizes, publish.mean_bytes, publish.most_bytes) == ((), 200, 200)
    run, _, _ = planned("{file: m.jsonl}")
    sizes = run.publishing["backend"].sizes
    assert [type(each) for each in sizes] == [SizeShare, SizeShare]
    assert [each.share for each in sizes] == [0.5, 0.5]
