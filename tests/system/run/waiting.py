"""Wait for a state of a run, and check how a run ended on a machine that may be busy."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.system.harness import Finished, demanded, only_run, read

#: Seconds to wait for a state that takes a second or two on a quiet machine.
PATIENCE_S = 120.0


def until(reached: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Wait until ``reached`` returns something true; otherwise raise AssertionError with ``what``."""
    deadline = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.05)


def ended_by_verdict(finished: Finished, results: Path) -> tuple[Path, dict[str, Any]]:
    """Assert that a folder's only run is complete and ended by its verdict; return its folder and summary.

    A test cannot require that a run on a busy machine is valid; tests/analysis tests the rules for verdicts.
    """
    folder = only_run(results)
    summary: dict[str, Any] = read(folder / "summary.json")
    assert summary["status"] == "complete", finished.said
    assert finished.code == demanded(summary), (finished.said, summary["verdict"])
    return folder, summary
