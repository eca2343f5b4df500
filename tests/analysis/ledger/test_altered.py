"""Test that exactly the altered deliveries are found, and that their number is unknown if the run checked nothing."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import analysis
import analysis.summary
from analysis.__main__ import main
from analysis.figures import derived
from analysis.ledger.breakdown import COUNTS
from analysis.ledger.reconcile import reconcile
from analysis.verdict.evaluate import evaluate, gates_of
from analysis.verify import independent
from analysis.verify.check import verify
from tests.analysis.synthetic import Row, Tables, altered, delivery, event, subscription, write_run

MS = 1_000_000
ON = {"version": 1, "name": "made-up", "integrity": True}


def written(folder: Path, deliveries: list[Row], changed: list[Row], scenario: Any = None) -> analysis.Run:
    tables: Tables = {
        "events": [event(1, n, f"/default/{'ab'[n % 2]}", n * MS) for n in range(6)],
        "subscriptions": [subscription(7, "/default/*"), subscription(8, "/default/a")],
        "deliveries": deliveries,
        "altered": [altered(row) for row in changed],
    }
    return analysis.load(write_run(folder, tables, scenario=ON if scenario is None else scenario))


def expected() -> list[Row]:
    """Return all expected deliveries: subscription 7 gets six events, subscription 8 every second one of these."""
    events = [event(1, n, "/default/a", n * MS) for n in range(6)]
    return [delivery(e, 7) for e in events] + [delivery(e, 8) for e in events[::2]]


#: Sets of rows to alter: none, each one alone, all but one, and all. Other sets would find nothing new, since each row
#: is matched by itself.
ALONE = [{place} for place in range(9)]
SOME: list[set[int]] = [set(), *ALONE, *(set(range(9)) - each for each in ALONE), set(range(9))]


def test_each_is_found(tmp_path: Path) -> None:
    rows = expected()
    for number, which in enumerate(SOME):
        changed = [rows[place] for place in sorted(which)]
        run = written(tmp_path / str(number), rows, changed)
        assert run.measure is not None
        settled = reconcile(run, run.measure)
        ledger = settled.ledger
        assert (ledger.altered, ledger.delivered, ledger.expected) == (len(which), 9, 9)
        assert ledger.balances
        by = settled.breakdown.by("subscription")["altered"].to_dict()
        counted = Counter(str(row["subscription"]) for row in changed)
        assert by == {key: counted.get(key, 0) for key in ("7", "8")}
        by = settled.breakdown.by("channel")["altered"].to_dict()
        assert sum(by.values()) == len(which)
        with independent.opened(run) as (database, plain):
            assert independent.altered(database, run, run.measure, plain) == len(which)


def test_only_the_first_copy_of_an_expected_delivery_counts(tmp_path: Path) -> None:
    rows = expected()
    again = {**rows[0], "arrival_ns": rows[0]["arrival_ns"] + MS, "read_ns": rows[0]["read_ns"] + MS}
    refused = delivery(event(1, 77, "/default/a", 0), 7)
    run = written(tmp_path, [*rows, again, refused], [again, refused, rows[1]])
    assert run.measure is not None
    ledger = reconcile(run, run.measure).ledger
    assert (ledger.altered, ledger.duplicates, ledger.unrecorded) == (1, 1, 1)
    assert ledger.balances


@pytest.mark.parametrize("scenario", [{"version": 1, "name": "made-up"}, {**ON, "integrity": False}])
def test_without_a_check_it_is_unknown(tmp_path: Path, scenario: dict[str, Any]) -> None:
    run = written(tmp_path, expected(), [], scenario)
    assert run.measure is not None
    settled = reconcile(run, run.measure)
    assert settled.ledger.altered is None
    assert settled.breakdown.names == COUNTS
    assert "ledger.altered" not in independent.figures(run, run.measure)
    table = derived.of_ledger(settled.breakdown)
    assert table["altered"].null_count == table.num_rows > 0


def test_a_record_without_the_table_is_unknown(tmp_path: Path) -> None:
    run = written(tmp_path, expected(), [])
    (tmp_path / "altered.parquet").unlink()
    assert run.measure is not None
    assert reconcile(run, run.measure).ledger.altered is None


def test_summary_report_gate_and_verify_agree(tmp_path: Path) -> None:
    rows = expected()
    gates = ["delivery.altered == 0", "delivery.altered <= 3"]
    run = written(tmp_path, rows, rows[2:5], {**ON, "gates": gates})
    assert main(["report", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["ledger"]["altered"] == 3
    gate_values = [result.value for result in evaluate(run, summary, gates_of(run.manifest))]
    assert gate_values == [3, 3]
    assert (
        "<td>altered: the content is not what was sent</td><td>3</td>"
        in (tmp_path / "report.html").read_text()
    )
    assert verify(analysis.load(tmp_path)).disagreements == []
    summary["ledger"]["altered"] = 2
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert any("ledger.altered is 2, and 3" in each for each in verify(analysis.load(tmp_path)).disagreements)


def test_a_gate_on_what_is_unknown_is_not_passed(tmp_path: Path) -> None:
    run = written(
        tmp_path, expected(), [], {"version": 1, "name": "made-up", "gates": ["delivery.altered == 0"]}
    )
    summary = analysis.summary.summarise(run)
    [result] = evaluate(run, summary, gates_of(run.manifest))
    assert result.status != "passed"
