"""Test the user's checks: their figures, gates on them, and the default gate."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import analysis
from analysis import text
from analysis.gates.grammar import GateError, parse
from analysis.report.notes import notes
from analysis.report.outputs import junit, markdown
from tests.analysis.synthetic import simple_run


def worker(number: int, checks: dict[str, tuple[int, int]] | None, **more: Any) -> dict[str, Any]:
    made = {} if checks is None else {"checks": counted(checks)}
    return {"worker": number, "id": "local", "hostname": "h", "pid": 1, "finished": True, **made, **more}


def counted(checks: dict[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
    return {name: {"passed": passed, "failed": failed} for name, (passed, failed) in checks.items()}


def summary_of(folder: Path, gates: list[Any], *workers: dict[str, Any], **manifest: Any) -> dict[str, Any]:
    scenario = {"version": 1, "name": "made-up", "gates": gates}
    written = simple_run(folder, scenario=scenario, workers=list(workers), **manifest)
    return analysis.summarise(analysis.load(written))


def test_checks_of_all_processes_are_added_up_the_most_failed_first(tmp_path: Path) -> None:
    summary = summary_of(
        tmp_path,
        [],
        worker(0, {"schema": (10, 0), "GET /x": (3, 1)}),
        worker(1, {"schema": (5, 0), "GET /x": (2, 4), "new": (0, 9)}),
        worker(2, None),
        checks=counted({"schema": (1, 0)}),
    )
    assert summary["checks"] == {
        "passed": 21,
        "failed": 14,
        "named": counted({"new": (0, 9), "GET /x": (5, 5), "schema": (16, 0)}),
    }
    assert list(summary["checks"]["named"]) == ["new", "GET /x", "schema"]


@pytest.mark.parametrize(
    ("gates", "failed", "decided", "code"),
    [
        # Without a gate on checks, the default gate allows no failed check.
        ([], 1, [("checks.failed == 0", "failed")], 1),
        ([], 0, [("checks.failed == 0", "passed")], 0),
        (["delivery.loss == 0"], 1, [("delivery.loss == 0", "passed"), ("checks.failed == 0", "failed")], 1),
        # A gate on checks takes the place of the default gate.
        (["checks.failed <= 5"], 5, [("checks.failed <= 5", "passed")], 0),
        (["checks.failed <= 5"], 6, [("checks.failed <= 5", "failed")], 1),
        (["checks.ratio >= 95%"], 5, [("checks.ratio >= 95%", "passed")], 0),
        (["checks.ratio >= 95%"], 6, [("checks.ratio >= 95%", "failed")], 1),
    ],
)
def test_failed_checks_fail_a_run_unless_a_gate_allows_them(
    gates: list[str], failed: int, decided: list[tuple[str, str]], code: int, tmp_path: Path
) -> None:
    summary = summary_of(tmp_path, gates, worker(0, {"schema": (100 - failed, failed)}))
    assert [(gate["gate"], gate["status"]) for gate in summary["gates"]] == decided
    assert summary["exit_code"] == code
    assert text.verdict(summary)[0] == ("good" if code == 0 else "bad")
    said = " ".join(gate["reason"] for gate in summary["gates"])
    assert ("by default: no gate of the scenario is about checks" in said) == (len(decided) > len(gates))


@pytest.mark.parametrize("gate", ["checks.failed == 0", "checks.ratio > 0"])
def test_a_gate_on_checks_that_were_never_made_decides_nothing(gate: str, tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [gate], worker(0, {}))
    (result,) = summary["gates"]
    assert (result["status"], result["reason"]) == ("inconclusive", "no check was made")
    assert summary["exit_code"] == 3


def test_a_run_without_checks_has_no_gate_on_them(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, [], worker(0, None))
    assert (summary["checks"], summary["gates"], summary["exit_code"]) == (None, [], 0)


def test_checks_have_no_time_and_so_no_windows() -> None:
    with pytest.raises(GateError, match=r"checks\.failed is known for the whole run only: leave 'over' out"):
        parse("checks.failed == 0 over 5s")


def test_what_failed_is_shown_everywhere_and_cleaned(tmp_path: Path) -> None:
    hostile = "<script>\x1b[31m`|"
    summary = summary_of(
        tmp_path, [], worker(0, {hostile: (1, 1_000), **{f"check {n}": (0, n) for n in range(1, 9)}})
    )
    lines = notes(summary)
    shown = next(line for line in lines if "script" in line)
    assert shown.endswith("1,000 of 1,001 failed")
    assert "\x1b" not in shown
    assert "and 4 other checks failed: summary.json has them" in lines
    page = markdown(summary)
    assert "1,036 of 1,037 failed" in page
    assert "\\<script\\>" in page
    assert "\x1b" not in page
    suite = ElementTree.fromstring(junit(summary))[0]
    assert suite.get("failures") == "1"


def test_user_code_that_failed_comes_first_and_makes_the_run_invalid(tmp_path: Path) -> None:
    failure = {
        "kind": "user code",
        "where": "payload() at mine.py:3",
        "message": "ValueError: no",
        "first_ns": 1,
    }
    summary = summary_of(
        tmp_path,
        [],
        worker(0, {"schema": (0, 5)}, failures=[{**failure, "count": 1}]),
        worker(1, None, failures=[{**failure, "count": 1_200}]),
        failures=[{**failure, "where": "test_start listener begin() at mine.py:9", "count": 1}],
    )
    assert summary["exit_code"] == 3
    assert [gate["status"] for gate in summary["gates"]] == ["inconclusive"]
    reasons = [finding["reason"] for finding in summary["verdict"]["findings"]]
    assert reasons == [
        "your code failed once on the master: test_start listener begin() at mine.py:9: ValueError: no",
        "your code failed once on worker 0: payload() at mine.py:3: ValueError: no",
        "your code failed 1,200 times on worker 1: payload() at mine.py:3: ValueError: no",
    ]
    assert text.verdict(summary)[1].startswith(f"Invalid: {reasons[0]}")
