"""Run the command line as a user would, in a separate process."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil

from analysis.record.folders import runs_in
from tests.paths import REPO

#: How long a test waits before it calls a run stuck. A run takes seconds, and on a machine with ten others minutes.
STUCK_S: Final = 300.0

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
    "phases.drain=1s",
)


def overrides(items: Sequence[str]) -> list[str]:
    return [part for item in items for part in ("--set", item)]


def start(
    *arguments: str, env: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Start `loadgen`; a run draws no report unless it is asked to: that is half of a small run's time."""
    if arguments[0] == "run" and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    return spawned([*prefix, sys.executable, "-m", "loadgen", *arguments], REPO, env)


def spawned(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in a folder and a session of its own; its output is read by `Finished`."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )


class Finished:
    """A process that has ended, its exit code and its output."""

    def __init__(self, process: subprocess.Popen[str], timeout_s: float = STUCK_S) -> None:
        try:
            self.out, self.err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            self.out, self.err = process.communicate()
            raise AssertionError(f"still running after {timeout_s} s\n{self.out}\n{self.err}") from None
        self.code = process.returncode

    @property
    def sentences(self) -> list[str]:
        """Lines on standard error, without notes on the surroundings: a busy machine is not the run's doing."""
        return [line for line in self.err.splitlines() if line and not line.startswith("loadgen: note: ")]

    @property
    def said(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def loadgen(*arguments: str, timeout_s: float = STUCK_S, **kwargs: Any) -> Finished:
    return Finished(start(*arguments, **kwargs), timeout_s)


def only_run(results: Path) -> Path:
    runs = runs_in(results)
    assert len(runs) == 1, f"{len(runs)} runs in {results}"
    return runs[0]


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def wait_for_phase(
    results: Path, phase: str, timeout_s: float = STUCK_S, process: subprocess.Popen[str] | None = None
) -> Path:
    """Wait until the one run of a results folder is in a phase; return its folder.

    Give up early, with the output, if the run's ``process`` ends before.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        ended = process is not None and process.poll() is not None
        for run in runs_in(results):
            if any(entry["name"] == phase for entry in read(run / "manifest.json")["phases"]):
                return run
        if process is not None and ended:
            raise AssertionError(f"the run ended before phase {phase}: {Finished(process).said}")
        time.sleep(0.05)
    raise AssertionError(f"phase {phase} was not reached within {timeout_s} s")


def demanded(summary: dict[str, Any]) -> int:
    """Return the exit code that the findings, outages and gates of a summary demand (docs/reference/command-line.md).

    Raises AssertionError for a run that did not go through: a test that ends a run knows its exit code.
    """
    assert summary["status"] in ("complete", "aborted"), (summary["status"], summary["reason"])
    gates = {gate["status"] for gate in summary["gates"]}
    if summary["status"] == "aborted":
        return 1
    if summary["verdict"]["kind"] == "invalid":
        assert gates <= {"inconclusive"}, gates
        return 3
    if summary["outages"]:
        return 4
    if "failed" in gates:
        return 1
    return 3 if "inconclusive" in gates else 0


def expect_by_verdict(
    finished: Finished, folder: Path, *, lossy: bool = False, outage: bool = False
) -> dict[str, Any]:
    """Assert that a run went through and ended with the exit code its own verdict demands; return its summary.

    On a busy machine a run may call itself invalid, so a test of a whole run can't demand exit code 0. It can demand
    all else: the ledger balances, nothing is lost (unless ``lossy``) and the target was never away (unless ``outage``).
    """
    assert (folder / "summary.json").exists(), finished.said
    assert "Traceback" not in finished.said, finished.said
    summary = read(folder / "summary.json")
    assert finished.code == summary["exit_code"] == demanded(summary), (summary["verdict"], finished.said)
    ledger = summary["ledger"]
    assert ledger["balances"], finished.said
    assert ledger["delivered"] + ledger["late"] + ledger["lost"] == ledger["expected"] > 0, finished.said
    assert lossy or ledger["lost"] == 0, (ledger, finished.said)
    assert outage or not summary["outages"], finished.said
    return summary


def as_judged(finished: Finished, folder: Path) -> dict[str, Any]:
    """Assert the same of a run without gates, and that its findings make its verdict and were all told."""
    summary = expect_by_verdict(finished, folder)
    assert summary["gates"] == []
    verdict = summary["verdict"]
    gravity = ("valid", "degraded", "invalid")
    worst = max((finding["severity"] for finding in verdict["findings"]), default="valid", key=gravity.index)
    assert verdict["kind"] == worst
    told = " ".join(finished.out.split())
    for finding in verdict["findings"]:
        assert f"{finding['severity']}: {' '.join(finding['reason'].split())}" in told
    return summary


def expect_gates(summary: dict[str, Any], *statuses: str) -> None:
    """Assert how the gates were decided; a run that is invalid decides none of them."""
    found = [gate["status"] for gate in summary["gates"]]
    invalid = summary["verdict"]["kind"] == "invalid"
    assert found == (["inconclusive"] * len(statuses) if invalid else list(statuses)), summary["gates"]


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of all processes that this one has started, and of theirs, while the block runs."""
    listed: set[str] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.3):
            for process in psutil.Process().children(recursive=True):
                try:
                    listed.add(" ".join(process.cmdline()))
                except psutil.Error:
                    continue

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield listed
    finally:
        ended.set()
        thread.join()


def free_port() -> int:
    """Return a free port that no outgoing connection is given: tests that run side by side open thousands."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 32_768
    # Seeds of `random` are shared by tests that draw the same; the system's own numbers are not.
    draw = random.SystemRandom()
    for _ in range(100):
        port = draw.randrange(min(10_000, first - 1), first)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


def may_unshare() -> bool:
    return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
