"""Test the speed benchmark with failing tools and with Ctrl-C, and how it shows its figures."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S
from tests.system.project.test_benchmarks import figures_of

FAILING = """
import json, sys
from pathlib import Path
from receive import measure, receivers, running
from receive.measure import FAN_OUT, FAN_OUT_REAL
from receive.receivers import Receiver

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    program = {"ends": "raise SystemExit('no licence')", "hangs": "import time; time.sleep(600)"}[sys.argv[1]]
    broken = Receiver("broken", lambda *_: [sys.executable, "-c", program])
    running.READY_TIMEOUT_S = {"ends": 60, "hangs": 1}[sys.argv[1]]
    first = measure.compare([broken], [FAN_OUT], 1, 3, 0.1, folder)
    running.READY_TIMEOUT_S = 60
    everyone = [broken, receivers.OURS] if sys.argv[1] == "ends" else []
    both = measure.compare(everyone, [FAN_OUT_REAL], 1, 3, 0.1, folder)
    print(json.dumps({"first": first.wrong, "wrong": both.wrong, "rows": [name for name, _ in both.rows]}))
"""
INTERRUPTED = """
import json, sys
from pathlib import Path
from receive import measure
from speed import __main__ as speed

if __name__ == "__main__":
    really, seen = measure.running, []

    def running(receiver, *others):
        if seen:
            raise KeyboardInterrupt
        seen.append(receiver.name)
        return really(receiver, *others)

    measure.running = running
    kept = Path(sys.argv[2]) / "figures.json"
    options = "--only ours --subscribers 3 --seconds 0.1 --json".split()
    sys.argv[1:] = ["receive", "publish", *options, str(kept)]
    code = speed.main()
    print(json.dumps({"code": code, "seen": seen, "kept": json.loads(kept.read_text())}))
"""
PUBLISHER_FAILS = """
import json, sys
from pathlib import Path
from speed import publish
from speed.section import Options

def run_publisher(publisher, kind, rate, *others):
    if publisher.name == publish.HTTP:
        raise RuntimeError(f"{publisher.name}: ended with 1: no licence")
    one = {"requests": 200, "seconds": 1.0, "cpu_s": 0.5, "events": 1000, "accepted": 1000}
    return {**one, "late_p50_us": 1.0, "late_p99_us": 2.0}

if __name__ == "__main__":
    publish.run_publisher, publish.program = run_publisher, lambda tool: None
    section = publish.run(Options(0.1, 3, Path(sys.argv[2]), (), 2, []))
    bars = [bar.value for bar in section.bars]
    rows = sorted({row[0] for row in section.rows})
    print(json.dumps({"failures": section.failures, "rows": rows, "bars": bars}))
"""
SHOWN = """
import json, sys
from rich.console import Console
from speed import tables
from speed.section import OWN, REAL, Bar, Figure, Section

if __name__ == "__main__":
    unit = "frames per CPU-s"
    section = Section("Receiving", ("receiver",))
    section.figures = [
        Figure("receive", "C", OWN, 400.0, unit, "limit"), Figure("receive", "C", REAL, 200.0, unit, "limit"),
        Figure("receive", "ours", OWN, 300.0, unit, "ours"), Figure("receive", "ours", REAL, 150.0, unit, "ours"),
        Figure("receive", "other", REAL, 25.0, unit),
        Figure("receive", "in turns", REAL, 150.0, unit, "ours", of_limit=0.6),
        Figure("connect", "C", None, 50.0, "us", "limit", cost=True),
        Figure("connect", "ours", None, 200.0, "us", "ours", cost=True),
        Figure("connect", "other", None, 800.0, "us", cost=True),
    ]
    console = Console(width=150, record=True, file=sys.stderr)
    tables.show_figures(console, [section])
    print(json.dumps(console.export_text()))
"""


def test_a_tool_that_ends_is_named_with_its_words_and_the_others_are_measured(tmp_path: Path) -> None:
    figures = figures_of(FAILING, "ends", tmp_path)
    assert any("broken" in each and "no licence" in each for each in figures["wrong"])
    assert figures["rows"] == ["ours, ws"]


def test_a_publisher_that_fails_is_named_and_the_others_are_measured(tmp_path: Path) -> None:
    found = figures_of(PUBLISHER_FAILS, "", tmp_path)
    assert set(found["failures"]) == {"ours, HTTP: ended with 1: no licence"}
    assert len(found["failures"]) == 5  # two rounds of two payloads, and once at a steady rate
    assert found["rows"] == ["httpx, one client a user", "httpx, one client for all", "ours, WebSocket"]
    assert found["bars"] == [None, None]


def test_a_tool_that_hangs_is_given_up(tmp_path: Path) -> None:
    figures = figures_of(FAILING, "hangs", tmp_path)
    assert figures["first"] == ["broken: not all subscribed within 1 s. "]


def test_an_interruption_keeps_what_was_measured(tmp_path: Path) -> None:
    figures = figures_of(INTERRUPTED, "", tmp_path)
    assert figures["code"] == 130
    (section,) = figures["kept"]["sections"]
    assert section["interrupted"]
    assert {each["tool"] for each in section["figures"]} == set(figures["seen"]) == {"ours, ws"}
    assert {each["payload"] for each in section["figures"]} == {"own padding", "real payload"}
    assert figures["kept"]["machine"]["cores"] >= 1
    assert figures["kept"]["tools"]["cc"]


def test_the_table_has_a_row_for_each_tool_with_all_its_payloads(tmp_path: Path) -> None:
    lines = figures_of(SHOWN, "", tmp_path).splitlines()
    cells = {tuple(cell.strip() for cell in line.split("│")[1:-1]) for line in lines if line.startswith("│")}
    unit = "frames per CPU-s"
    assert cells == {
        ("receive", "C", "400", "200", "–", unit, "–", "–"),
        ("", "ours", "300", "150", "–", unit, "0.75", "–"),
        ("", "other", "–", "25", "–", unit, "0.12", "6.0 ×"),
        ("", "in turns", "–", "150", "–", unit, "0.60", "–"),
        ("connect", "C", "–", "–", "50", "us", "–", "–"),
        ("", "ours", "–", "–", "200", "us", "0.25", "–"),
        ("", "other", "–", "–", "800", "us", "0.06", "4.0 ×"),
    }


def of(summary: dict[str, Any], folder: Path) -> Any:
    """Return the figures that the catalogue's benchmark takes from a summary."""
    program = """
import json, sys
from catalogue import figures
print(json.dumps(figures(json.loads(sys.stdin.read()))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(summary),
        env={"PYTHONPATH": f"{REPO / 'benchmarks'}:{REPO}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=STUCK_S,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("low", "high", "error_ns", "expected"),
    [(None, None, 0, 0), (None, 1_300, 5, 305), (900, 1_200, 0, 200), (None, None, None, None)],
)
def test_the_catalogue_shows_how_wrong_a_percentile_may_be(
    low: int | None, high: int | None, error_ns: int | None, expected: int | None, tmp_path: Path
) -> None:
    def bounds(value: int | None) -> dict[str, int] | None:
        return None if value is None else {"p50": value, "p99": value}

    summary = json.loads((REPO / "results/sample/summary.json").read_text())
    summary["delivery"]["headline_ns"] |= {
        "p50": 1_000, "p99": 1_000, "low": bounds(low), "high": bounds(high), "error_ns": error_ns
    }  # fmt: skip
    found = of(summary, tmp_path)
    assert found["p50_error_ns"] == found["p99_error_ns"] == expected
    assert found["verdict"] == summary["verdict"]["kind"]
    assert found["delivered"] == summary["ledger"]["delivered"] > 0
