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

#: Seconds after which a test calls a run stuck. A run takes seconds, but minutes if ten other runs use the machine.
STUCK_S: Final = 900.0

#: Overrides that make a run of the scenario `comments` last a few seconds. They remove its gates, which judge
#: a service and not the harness.
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
    """Start `loadgen`; a run draws no report unless asked, because that takes half of a small run's time."""
    if arguments[0] == "run" and "--report" not in arguments:
        arguments = (*arguments, "--no-report")
    return spawned([*prefix, sys.executable, "-m", "loadgen", *arguments], REPO, env)


def spawned(
    command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a command in ``folder``, as the leader of a new session; `Finished` reads its output."""
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
    """The exit code and the output of a process that has ended."""

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
        """Lines on standard error, except the notes: these are about the machine being busy, not about the run."""
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
    """Wait until the only run in a results folder has begun ``phase``; return the run's folder.

    If the run's ``process`` ends before that, fail at once with the output of the process.
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
    """Return the exit code that a summary's findings, outages and gates require.

    The rules are in docs/reference/command-line.md. Raises AssertionError if the run did not go through,
    since a test that ends a run early knows the exit code.
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
    """Assert that a run went through, and that its exit code follows from its verdict; return its summary.

    On a busy machine a run may call itself invalid, so a test cannot require exit code 0. It can require
    everything else: the ledger balances, nothing is lost (unless ``lossy``), and the target was never away
    (unless ``outage``).
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
    """Assert that a run without gates went through, and that it printed the findings of its verdict."""
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
    """Assert how the gates were decided; in an invalid run none is decided."""
    found = [gate["status"] for gate in summary["gates"]]
    invalid = summary["verdict"]["kind"] == "invalid"
    assert found == (["inconclusive"] * len(statuses) if invalid else list(statuses)), summary["gates"]


@contextmanager
def command_lines() -> Iterator[set[str]]:
    """Collect the command lines of all processes started, directly or not, while the block runs."""
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
    """Return a free port outside the range of outgoing connections, of which tests open thousands."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):
        first = 32_768
    # Tests with the same seed of `random` would draw the same ports, so use the system's random numbers.
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
