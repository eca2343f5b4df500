"""Test runs in real cgroups: a CPU quota, and a kill for lack of memory, are named as causes."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.measure import cgroup
from tests.system.harness import SMALL, Finished, only_run, overrides, read, start, wait_for_phase
from tests.system.run.waiting import PATIENCE_S, until

#: Allocates more and more memory once told to, until the kernel must kill another process.
EATER = """
import time
input()
taken = []
for _ in range(50):
    taken.append(bytearray(b"x" * 2**20))
    time.sleep(0.02)
input()
"""
LOAD = (*SMALL, "gates=[delivery.latency.p99 < 60s]", "phases.measure=3s", "phases.drain=500ms")


def throttled_run(results: Path, percent: int, *options: str) -> tuple[Finished, Any]:
    """Make a run with a CPU quota during the measurement only; with the quota, the other phases would take longer."""
    with cgroup.group("cpu") as place:
        quota = place / "cpu.cfs_quota_us"
        (place / "cpu.shares").write_text("200000")
        run = start(
            *("run", "comments", *options, "--results", str(results), *overrides(LOAD)),
            prefix=cgroup.within(place),
        )
        wait_for_phase(results, "measure", PATIENCE_S)
        # This process uses all CPU time it can get, so that the quota is used up even if the run needs
        # little.
        with subprocess.Popen(
            [*cgroup.within(place), sys.executable, "-S", "-c", "while True: pass"]
        ) as taker:
            quota.write_text(str(percent * 1_000))
            time.sleep(3.5)
            quota.write_text("-1")
            taker.kill()
        finished = Finished(run, PATIENCE_S)
    return finished, read(only_run(results) / "summary.json")


def ended(process: psutil.Process) -> bool:
    """Return whether a process has ended, even if nothing has read its exit code yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_quota_is_the_first_thing_that_a_throttled_run_says_and_its_gates_are_open(tmp_path: Path) -> None:
    percent = 8
    finished, summary = throttled_run(tmp_path / "results", percent)
    assert finished.code == 3, finished.said
    assert summary["verdict"]["kind"] == "invalid"
    first, *others = summary["verdict"]["findings"]
    assert (first["severity"], first["subject"]) == ("invalid", "throttling"), summary["verdict"]
    assert (
        f"worker 0 was throttled: the CPU quota of {percent} % of a core stopped everything"
        in first["reason"]
    )
    assert {gate["status"] for gate in summary["gates"]} == {"inconclusive"}
    for finding in others:
        if finding["subject"] in ("schedule", "cpu"):
            assert finding["advice"] == "the CPU quota named above explains this: fix that first"
    (group,) = summary["surroundings"]
    assert group["quota_cores"] == pytest.approx(percent / 100)
    assert group["throttled_share"] > 0.01
    # The recorded CPU use is CPU time divided by the CPU time that the quota allows. The quota is less than one
    # core, so this share is greater than CPU time divided by wall time.
    health = pd.read_parquet(only_run(tmp_path / "results") / "health.parquet").dropna(subset=["allowed_ns"])
    under = health[health["allowed_ns"] <= 1.01 * percent / 100 * health["interval_ns"]]
    assert len(under) >= 1
    worst = float((under["cpu_ns"] / under["allowed_ns"]).max())
    assert worst > 0.9 * 100 / percent * (under["cpu_ns"] / under["interval_ns"]).max() > 0
    assert summary["health"]["cpu_worst"] >= worst - 1e-9


def test_workers_that_share_a_quota_are_one_finding(tmp_path: Path) -> None:
    _, summary = throttled_run(tmp_path / "results", 20, "--processes", "2")
    said = [finding for finding in summary["verdict"]["findings"] if finding["subject"] == "throttling"]
    assert len(said) == 1, summary["verdict"]
    assert said[0]["reason"].startswith(
        "workers 0, 1 were throttled: the CPU quota of 20 % of a core that they share"
    )


def test_a_run_says_before_it_begins_what_its_container_allows(tmp_path: Path) -> None:
    said: list[str] = []
    with cgroup.quota(0.9) as place:
        run = start(
            *("run", "comments", "--results", str(tmp_path), *overrides(LOAD)), prefix=cgroup.within(place)
        )
        assert run.stderr is not None
        for line in run.stderr:
            said.append(line)
            if "a CPU quota" in line:
                # This test needs only the note about the quota, so end the run.
                os.kill(run.pid, signal.SIGINT)
        Finished(run, PATIENCE_S)
    note = next(line for line in said if "a CPU quota" in line)
    assert note.startswith("loadgen: note: a CPU quota allows 90 % of a core of the machine's")
    assert "a worker process and the embedded server may use up to 2 cores" in note


def test_a_worker_that_the_kernel_killed_for_want_of_memory_is_said_to_be(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with cgroup.group("memory") as place:
        limit = place / "memory.limit_in_bytes"
        run = start(
            *("run", "comments", "--processes", "2", "--results", str(results)),
            *overrides((*LOAD, "phases.drain=2s")),
            prefix=cgroup.within(place),
        )
        eater = subprocess.Popen(
            [*cgroup.within(place), sys.executable, "-c", EATER], stdin=subprocess.PIPE, text=True
        )
        wait_for_phase(results, "measure", PATIENCE_S)
        (master,) = psutil.Process(run.pid).children()
        victim = max(
            (child for child in master.children() if "loadgen.server" not in child.cmdline()),
            key=lambda child: child.pid,
        )
        # Choose the processes that the kernel kills first and second, by their scores. Other processes may have
        # inherited a high score, so reset it.
        for process in (psutil.Process(run.pid), master, *master.children()):
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("0")
        Path(f"/proc/{victim.pid}/oom_score_adj").write_text("1000")
        Path(f"/proc/{eater.pid}/oom_score_adj").write_text("500")
        # The process that eats memory exceeds the limit by 30 MB. The kernel kills one worker, which frees more
        # than 30 MB.
        limit.write_text(str(int((place / "memory.usage_in_bytes").read_text()) + 20 * 2**20))
        assert eater.stdin is not None
        eater.stdin.write("now\n")
        eater.stdin.flush()
        until(lambda: ended(victim), "the kernel kills the worker")
        limit.write_text("-1")
        eater.kill()
        eater.communicate()
        finished = Finished(run, PATIENCE_S)
    summary = read(only_run(results) / "summary.json")
    assert finished.code == 3, finished.said
    assert f"pid {victim.pid}" in summary["reason"]
    assert re.search(
        r"the kernel killed (a process|2 processes) beside the master for lack of memory", summary["reason"]
    )
    assert any(
        finding["subject"] == "record" and "for lack of memory" in finding["reason"]
        for finding in summary["verdict"]["findings"]
    ), summary["verdict"]
