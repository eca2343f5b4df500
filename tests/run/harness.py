"""Running the command line as a person would, in a process of its own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[2]

#: A small `comments`: a few seconds, so that the suite stays quick; without its gates, which are about a service and
#: not about what a test does to it.
SMALL = (
    "gates=[]",
    "clients.readers.count=40",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=3",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=500ms",
    "phases.measure=2s",
    "phases.drain=500ms",
)


def overrides(items: Sequence[str]) -> list[str]:
    return [part for item in items for part in ("--set", item)]


def start(
    *arguments: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start `loadgen`; a run draws no report unless it is asked to: that is half of a small run's time."""
    if arguments[0] == "run" and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "loadgen", *arguments],
        cwd=REPO,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


class Finished:
    def __init__(self, process: subprocess.Popen[str], timeout_s: float) -> None:
        try:
            self.out, self.err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.out, self.err = process.communicate()
            raise AssertionError(f"still running after {timeout_s} s\n{self.out}\n{self.err}") from None
        self.code = process.returncode

    @property
    def said(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def loadgen(*arguments: str, timeout_s: float = 90, **kwargs: Any) -> Finished:
    return Finished(start(*arguments, **kwargs), timeout_s)


def only_run(results: Path) -> Path:
    (run,) = [path.parent for path in results.glob("*/manifest.json")]
    return run


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def as_judged(finished: Finished, run: Path) -> dict[str, Any]:
    """Return the summary of a run without gates that went to its end, which ended and was told as it was judged.

    A busy machine may make it degraded or invalid: that the exit code, the record and the words agree does not hang on
    that. Which findings make which verdict is tested on computed records (tests/analysis).
    """
    summary, manifest = read(run / "summary.json"), read(run / "manifest.json")
    assert (manifest["status"], summary["status"], summary["gates"]) == ("complete", "complete", []), finished.said
    verdict = summary["verdict"]
    worst = max((finding["severity"] for finding in verdict["findings"]), default="valid", key=_GRAVITY.index)
    assert verdict["kind"] == worst
    assert finished.code == summary["exit_code"] == (3 if worst == "invalid" else 0), finished.said
    told = " ".join(finished.out.split())
    for finding in verdict["findings"]:
        assert f"{finding['severity']}: {' '.join(finding['reason'].split())}" in told
    return summary


_GRAVITY = ("valid", "degraded", "invalid")


def wait_for_phase(results: Path, phase: str, timeout_s: float = 60) -> Path:
    """Wait until the one run of a results folder is in a phase; return its folder."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for manifest in results.glob("*/manifest.json"):
            if any(entry["name"] == phase for entry in read(manifest)["phases"]):
                return manifest.parent
        time.sleep(0.05)
    raise AssertionError(f"phase {phase} was not reached within {timeout_s} s")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def may_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
