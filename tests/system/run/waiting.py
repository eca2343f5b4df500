"""Waits for tests of whole processes, and what they may require on a busy machine."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.harness import Finished, demanded, only_run, read

#: For a state that comes within a second or two on a quiet machine.
PATIENCE_S = 120.0


def until(reached: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until something is so; AssertionError says what has not come."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.05)


def ended_by_verdict(finished: Finished, results: Path) -> tuple[Path, dict[str, Any]]:
    """Demand that the one run of a folder is complete and ended as its own verdict says; return its folder and summary.

    Whether a run on a busy machine is valid is not a test's to demand: what makes which verdict is computed in
    tests/analysis.
    """
    folder = only_run(results)
    summary: dict[str, Any] = read(folder / "summary.json")
    assert summary["status"] == "complete", finished.said
    assert finished.code == demanded(summary), (finished.said, summary["verdict"])
    return folder, summary
