"""Test that stopped processes are reported with the time window and the effect, and invalidate the run."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from analysis.limits import LIMITS
from tests.system.harness import SMALL, Finished, only_run, overrides, read, start, wait_for_phase
from tests.system.run.waiting import PATIENCE_S, until
from tests.system.service import Service

PAUSE_S = 1.5
FREEZER = Path("/sys/fs/cgroup/freezer")
UNIFIED = Path("/sys/fs/cgroup")
#: Overrides for a load whose latency gate passes unless a process is stopped.
LOAD = (
    *SMALL,
    "gates=[delivery.latency.p99 < 60s]",
    "clients.readers.count=10",
    "clients.commenters.publish.rate=20/s",
    "phases.measure=3s",
    "phases.drain=1s",
)
#: The duration in a finding's reason: "1.5 s" on a quiet machine, less if the process also waited for a CPU.
LASTED = r"\d[\d.]* m?s"


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def stop(processes: list[psutil.Process]) -> None:
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    for each in processes:
        os.kill(each.pid, signal.SIGCONT)


def waited_s(processes: list[psutil.Process]) -> float:
    """Return the longest time that a thread of these processes has waited for a CPU, in seconds."""
    most_ns = 0
    for each in processes:
        its_ns = 0
        for file in Path(f"/proc/{each.pid}/task").glob("*/schedstat"):
            with suppress(OSError):
                its_ns += int(file.read_text().split()[1])
        most_ns = max(most_ns, its_ns)
    return most_ns / 1e9


@dataclass(frozen=True)
class Paused:
    """A run that was paused: how it ended, and bounds of its longest pause."""

    finished: Finished
    summary: Any
    #: A pause is time explained neither by work nor by waiting for a CPU (see `loadgen.measure.pauses`).
    least_s: float
    most_s: float


def paused_run(results: Path, pause: Callable[["subprocess.Popen[str]"], None], *options: str) -> Paused:
    """Start a run, pause it half a second into the measurement, and return the results."""
    run = start("run", "comments", *options, "--results", str(results), *overrides(LOAD))
    wait_for_phase(results, "measure", PATIENCE_S)
    processes = family(run)
    before_s = waited_s(processes)
    time.sleep(0.5)
    began_s = time.monotonic()
    pause(run)
    most_s = time.monotonic() - began_s
    wait_for_phase(results, "drain", PATIENCE_S)
    waited = waited_s(processes) - before_s
    finished = Finished(run, 120)
    least_s = max(LIMITS.pause_ns / 1e9, PAUSE_S - 0.1 - waited)
    return Paused(finished, read(only_run(results) / "summary.json"), least_s, most_s + 0.5)


def first_reason(summary: Any) -> str:
    finding = summary["verdict"]["findings"][0]
    assert (finding["severity"], finding["subject"]) == ("invalid", "pause"), summary["verdict"]
    reason: str = finding["reason"]
    return reason


def check(paused: Paused) -> None:
    """Check what must hold for every paused run, even on a busy machine."""
    finished, summary = paused.finished, paused.summary
    assert finished.code == 3, finished.said
    assert summary["verdict"]["kind"] == "invalid"
    assert {gate["status"] for gate in summary["gates"]} == {"inconclusive"}
    longest = max(pause["lasted_ns"] for pause in summary["clock"]["pauses"])
    assert paused.least_s <= longest / 1e9 <= paused.most_s
    assert "paused for" in finished.out
    # Delays up to the length of the pause are explained by it, so their advice is to fix the pause, not to
    # reduce the load. tests/analysis/verdict/test_causes.py tests the greatest delay that a pause explains.
    for finding in summary["verdict"]["findings"]:
        if finding["subject"] in ("schedule", "loop") and 1e9 < (finding["size_ns"] or 0) <= 1.2 * longest:
            assert finding["advice"] == "the pause named above explains this: fix that first"


def test_a_whole_run_that_is_stopped_for_a_while_says_so_and_is_never_valid(tmp_path: Path) -> None:
    paused = paused_run(tmp_path / "results", lambda run: stop(family(run)))
    check(paused)
    reason = first_reason(paused.summary)
    assert re.match(f"the whole run was paused for {LASTED}", reason), reason
    assert "s into the measurement: what was sent and received then is not the service's doing" in reason


def test_one_worker_that_is_stopped_is_named(tmp_path: Path, service: Service) -> None:
    stopped: list[int] = []

    def pause(run: "subprocess.Popen[str]") -> None:
        folder = wait_for_phase(tmp_path / "results", "measure", PATIENCE_S)
        second = read(folder / "manifest.json")["workers"][1]
        stopped.append(second["worker"])
        stop([psutil.Process(second["pid"])])

    paused = paused_run(tmp_path / "results", pause, "--processes", "2", *service.options)
    check(paused)
    (number,) = stopped
    reason = first_reason(paused.summary)
    assert re.match(f"worker {number} was paused for {LASTED}", reason), reason


def test_the_master_alone_that_is_stopped_is_named_and_the_run_is_not_plainly_valid(
    tmp_path: Path, service: Service
) -> None:
    def pause(run: "subprocess.Popen[str]") -> None:
        folder = wait_for_phase(tmp_path / "results", "measure", PATIENCE_S)
        master = psutil.Process(read(folder / "manifest.json")["workers"][0]["pid"]).parent()
        assert master is not None
        stop([master])

    summary = paused_run(tmp_path / "results", pause, "--processes", "2", *service.options).summary
    assert summary["verdict"]["kind"] in ("degraded", "invalid")
    of_master = [finding for finding in summary["verdict"]["findings"] if finding["subject"] == "pause"]
    reason = of_master[0]["reason"]
    assert re.match(f"the master was paused for {LASTED}", reason), summary["verdict"]
    assert reason.endswith("the master did not watch the run in that time, though its workers went on")
    # The workers have sent all events due, and the pause of the master caused no loss.
    assert summary["ledger"]["events_accepted"] == summary["ledger"]["events_due"]
    assert summary["ledger"]["lost"] == 0


@contextmanager
def frozen_group(name: str) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """Make a cgroup of v1 or v2; yield its folder and a function that freezes or thaws it."""
    if (FREEZER / "cgroup.procs").exists():
        group, file, words = FREEZER / name, "freezer.state", ("THAWED", "FROZEN")
    elif (UNIFIED / "cgroup.controllers").exists():
        group, file, words = UNIFIED / name, "cgroup.freeze", ("0", "1")
    else:
        pytest.skip("no control groups here")
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")

    def freeze(on: bool) -> None:
        (group / file).write_text(words[on])
        if file == "freezer.state":
            # Wait: the kernel can freeze a process only at certain points, so the write returns before all are frozen.
            until(lambda: (group / file).read_text().strip() == words[on], words[on])

    try:
        yield group, freeze
    finally:
        (group / file).write_text(words[False])
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def test_a_container_that_is_frozen_says_so(tmp_path: Path) -> None:
    """Freezing sends no signal; the kernel just does not run the processes."""
    with frozen_group(f"loadgen-test-{os.getpid()}") as (group, freeze):

        def pause(run: "subprocess.Popen[str]") -> None:
            for each in family(run):
                (group / "cgroup.procs").write_text(str(each.pid))
            freeze(True)
            time.sleep(PAUSE_S)
            freeze(False)

        paused = paused_run(tmp_path / "results", pause)
    check(paused)
    reason = first_reason(paused.summary)
    assert re.match(f"the whole run was paused for {LASTED}", reason), reason
