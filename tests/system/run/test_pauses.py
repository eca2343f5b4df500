"""Processes of a run that are stopped while it measures: named, with window and effect, and never valid."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.system.harness import SMALL, Finished, only_run, overrides, read, start, wait_for_phase

PAUSE_S = 1.5
FREEZER = Path("/sys/fs/cgroup/freezer")
UNIFIED = Path("/sys/fs/cgroup")
#: A load that a gate on latency lets pass where nothing is stopped.
LOAD = (*SMALL, "gates=[delivery.latency.p99 < 60s]", "phases.measure=4s", "phases.drain=2s")


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def stop(processes: list[psutil.Process]) -> None:
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    time.sleep(PAUSE_S)
    for each in processes:
        os.kill(each.pid, signal.SIGCONT)


def paused_run(results: Path, pause: Callable[["subprocess.Popen[str]"], None], *options: str) -> Any:
    """Start a run, pause it a second into its measurement; return its end and its summary."""
    run = start("run", "comments", *options, "--results", str(results), *overrides(LOAD))
    wait_for_phase(results, "measure")
    time.sleep(1)
    pause(run)
    finished = Finished(run, 90)
    return finished, read(only_run(results) / "summary.json")


def first_reason(summary: Any) -> str:
    finding = summary["verdict"]["findings"][0]
    assert (finding["severity"], finding["subject"]) == ("invalid", "pause"), summary["verdict"]
    reason: str = finding["reason"]
    return reason


def check(finished: Finished, summary: Any, least_s: float = 0.8 * PAUSE_S) -> None:
    """Check what is true of every run that was paused, on a machine that may be busy with others' work."""
    assert finished.code == 3, finished.said
    assert summary["verdict"]["kind"] == "invalid"
    assert {gate["status"] for gate in summary["gates"]} == {"inconclusive"}
    longest = max(pause["lasted_ns"] for pause in summary["clock"]["pauses"])
    assert least_s * 1e9 <= longest <= (PAUSE_S + 2) * 1e9
    assert "paused for" in finished.out
    # No advice on the load for what is no fault of the load.
    for finding in summary["verdict"]["findings"]:
        if finding["subject"] in ("schedule", "loop") and (finding["size_ns"] or 0) > 1e9:
            assert finding["advice"] == "the pause named above explains this: see to that first"


def test_a_whole_run_that_is_stopped_for_a_while_says_so_and_is_never_valid(tmp_path: Path) -> None:
    finished, summary = paused_run(tmp_path / "results", lambda run: stop(family(run)))
    check(finished, summary)
    reason = first_reason(summary)
    assert reason.startswith("the whole run was paused for 1.")
    assert "s into the measurement: what was sent and received then is not the service's doing" in reason


def test_one_worker_that_is_stopped_is_named(tmp_path: Path) -> None:
    stopped: list[int] = []

    def pause(run: "subprocess.Popen[str]") -> None:
        folder = wait_for_phase(tmp_path / "results", "measure")
        second = read(folder / "manifest.json")["workers"][1]
        stopped.append(second["worker"])
        stop([psutil.Process(second["pid"])])

    finished, summary = paused_run(tmp_path / "results", pause, "--processes", "2")
    check(finished, summary)
    (number,) = stopped
    assert first_reason(summary).startswith(f"worker {number} was paused for 1.")


def test_the_master_alone_that_is_stopped_is_named_and_the_run_is_not_plainly_valid(tmp_path: Path) -> None:
    def pause(run: "subprocess.Popen[str]") -> None:
        folder = wait_for_phase(tmp_path / "results", "measure")
        master = psutil.Process(read(folder / "manifest.json")["workers"][0]["pid"]).parent()
        assert master is not None
        stop([master])

    _, summary = paused_run(tmp_path / "results", pause, "--processes", "2")
    assert summary["verdict"]["kind"] in ("degraded", "invalid")
    of_master = [finding for finding in summary["verdict"]["findings"] if finding["subject"] == "pause"]
    reason = of_master[0]["reason"]
    assert reason.startswith("the master was paused for 1."), summary["verdict"]
    assert reason.endswith("meanwhile nobody watched the run, though its workers went on by themselves")
    # The workers have sent all that was due, and nothing was lost by it.
    assert summary["ledger"]["events_accepted"] == summary["ledger"]["events_due"]
    assert summary["ledger"]["lost"] == 0


@contextmanager
def frozen_group(name: str) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """Make a control group, of whichever version there is; yield its folder and what freezes and thaws it."""
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

    def set_to(freeze: bool) -> None:
        (group / file).write_text(words[freeze])

    try:
        yield group, set_to
    finally:
        (group / file).write_text(words[False])
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def test_a_container_that_is_frozen_says_so(tmp_path: Path) -> None:
    """No signal is sent: the processes are just not run."""
    with frozen_group(f"loadgen-test-{os.getpid()}") as (group, freeze):

        def pause(run: "subprocess.Popen[str]") -> None:
            for each in family(run):
                (group / "cgroup.procs").write_text(str(each.pid))
            freeze(True)
            time.sleep(PAUSE_S)
            freeze(False)

        finished, summary = paused_run(tmp_path / "results", pause)
    check(finished, summary)
    assert first_reason(summary).startswith("the whole run was paused for 1.")
