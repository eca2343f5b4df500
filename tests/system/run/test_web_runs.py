"""Test runs that are started and stopped in Locust's web UI, one after the other in the same processes."""

import contextlib
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from analysis.record.folders import runs_in
from tests.system.harness import SMALL, STUCK_S, Finished, free_port, overrides, read, start
from tests.system.run.waiting import until

TOKEN = "a-token-of-this-test"


class Site:
    """A process with a web UI, and its run folders."""

    def __init__(self, results: Path, processes: str, *options: str) -> None:
        self.results = results
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[str] = start(
            *("run", "comments", "--results", str(results), "--web", "--web-port", str(port)),
            *("--processes", processes, *options, *overrides([*SMALL, "gates=[]"])),
            env={"LOADGEN_WEB_TOKEN": TOKEN},
        )

    def fetch(self, path: str, data: bytes | None = None) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(self.url + path, data, {"Authorization": f"Bearer {TOKEN}"})
        with opener.open(request, timeout=STUCK_S) as answer:
            text: str = answer.read().decode()
            return text

    def state(self) -> str | None:
        """Return Locust's state, or None if the page does not answer yet."""
        assert self.process.poll() is None, self.process.communicate()
        with contextlib.suppress(OSError):
            told: dict[str, Any] = json.loads(self.fetch("/stats/requests"))
            # A master without workers cannot start a run.
            return "waiting" if told.get("workers") == [] else str(told["state"])
        return None

    def folders(self) -> list[Path]:
        return runs_in(self.results)

    def begin(self, number: int) -> Path:
        """Press Start, and return the folder of the new run."""
        until(lambda: self.state() in ("ready", "stopped"), "Locust can start")
        self.fetch("/swarm", b"user_count=1&spawn_rate=1")
        until(lambda: len(self.folders()) == number, f"run {number} begins")
        known = {read(folder / "manifest.json")["run"] for folder in self.folders()}
        assert len(known) == number
        return self.folders()[-1]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_runs_follow_each_other_whether_they_ended_or_were_stopped(tmp_path: Path, processes: str) -> None:
    site = Site(tmp_path, processes)
    try:
        first = site.begin(1)
        until((first / "summary.json").exists, "the first run ends")
        second = site.begin(2)
        until(
            lambda: "measure" in {entry["name"] for entry in read(second / "manifest.json")["phases"]},
            "the second run measures",
        )
        site.fetch("/stop", b"")
        # /stop answers only when the run's record is complete and its exit code is decided.
        assert (second / "summary.json").exists()
        third = site.begin(3)
        until((third / "summary.json").exists, "the third run ends")
        until(lambda: site.state() == "stopped", "Locust has stopped the third run")
        os.kill(site.process.pid, signal.SIGINT)
        finished = Finished(site.process)
    finally:
        if site.process.poll() is None:
            os.killpg(site.process.pid, signal.SIGKILL)
            site.process.communicate()
    assert "Traceback" not in finished.said
    statuses = [read(folder / "manifest.json")["status"] for folder in (first, second, third)]
    assert statuses[0] == statuses[2] == "complete", finished.said
    # The test stops the second run early, but on a busy machine the run may have ended before.
    assert statuses[1] in ("interrupted", "complete")
    for folder in (first, second, third):
        summary = read(folder / "summary.json")
        assert summary["ledger"]["balances"], finished.said
        assert summary["ledger"]["expected"] > 0
    # The process was ended after its last run, so it has that run's exit code.
    assert finished.code == read(third / "summary.json")["exit_code"]


@pytest.mark.parametrize("moment", ["the report is made", "the run is over"])
def test_ctrl_c_after_the_load_closes_the_page_and_keeps_the_exit_code(tmp_path: Path, moment: str) -> None:
    site = Site(tmp_path, "2", "--report")
    try:
        folder = site.begin(1)

        def reached() -> bool:
            data = json.loads(site.fetch("/fan-out/data"))
            if moment == "the run is over":
                return data.get("outcome") is not None
            return bool(data.get("phase") == "finishing")

        until(reached, moment)
        if moment == "the run is over":
            name = json.loads(site.fetch("/fan-out/data"))["run"]
            assert site.fetch(f"/fan-out/report/{name}") == (folder / "report.html").read_text()
        # Send the signal to every process of the group, as a terminal does.
        os.killpg(site.process.pid, signal.SIGINT)
        finished = Finished(site.process)
    finally:
        if site.process.poll() is None:
            os.killpg(site.process.pid, signal.SIGKILL)
            site.process.communicate()
    summary = read(folder / "summary.json")
    assert summary["status"] == "complete", finished.said
    assert finished.code == summary["exit_code"] != 130, finished.said
    assert (folder / "report.html").exists(), finished.said
    assert "Traceback" not in finished.said
