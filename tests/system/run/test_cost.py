"""Test cost limits: they refuse runs before the start, and stop runs that become too expensive."""

import os
import pty
import subprocess
import sys
from pathlib import Path

from loadgen.planning.estimate import estimate
from loadgen.planning.prices import load_prices
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from tests.paths import REPO
from tests.system.harness import SMALL, STUCK_S, loadgen, only_run, overrides, read
from tests.system.run.pages import page


def test_a_run_that_has_cost_more_than_it_may_is_stopped_and_reported(tmp_path: Path) -> None:
    (tmp_path / "faults.yaml").write_text("duplicate: 100%\n")
    settings = [*SMALL, "phases.measure=4s"]
    plan = estimate(
        resolve(load("comments", dict(item.partition("=")[::2] for item in settings))), load_prices()
    )
    usd = plan.cost.usd
    assert usd is not None
    # The planned cost is below the limit, so the run starts. But each delivery comes twice, so the cost
    # reaches the limit half-way.
    finished = loadgen(
        *("run", "comments", "--results", str(tmp_path / "results")),
        *("--max-cost", repr(usd * 1.01)),
        *("--faults", str(tmp_path / "faults.yaml")),
        *overrides(settings),
    )
    assert finished.code == 3, finished.said
    assert "Traceback" not in finished.said
    assert "loadgen: stopped: the operations so far cost about $" in finished.err
    run = only_run(tmp_path / "results")
    manifest, summary = read(run / "manifest.json"), read(run / "summary.json")
    assert (manifest["status"], summary["exit_code"], summary["partial"]) == ("stopped", 3, True)
    assert summary["cost"]["usd_total"] > usd * 1.01
    assert "more than --max-cost" in page(run)


REAL = (
    *("--target", "https://api.invalid/event", "--api-key-env", "HOME"),
    *("--allow-remote", "--set", "phases.measure=10m"),
)


def test_on_a_terminal_one_is_asked() -> None:
    here, there = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "loadgen", "run", "comments", *REAL],
        stdin=there, stdout=there, stderr=there, cwd=REPO,
    )  # fmt: skip
    os.close(there)
    said = b""
    while b"Run it? [y/N]" not in said:
        said += os.read(here, 4096)
    os.write(here, b"n\n")
    assert process.wait(STUCK_S) == 2
    os.close(here)
