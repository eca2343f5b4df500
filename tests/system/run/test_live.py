"""Test live displays of whole runs: the Fan-out tab in a real Chromium, /metrics, and missing extras."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prometheus_client.parser import text_string_to_metric_families

from analysis.text import verdict
from tests.paths import REPO
from tests.system.editor.browser import Browser, Page
from tests.system.harness import SMALL, STUCK_S, free_port, only_run, overrides, read, start, wait_for_phase
from tests.system.run.waiting import until
from tests.system.service import Service
from tests.system.users.player import Player

READERS = 40
#: A run that measures long enough for a browser to show it, even while other tests run.
SCENARIO = (
    *SMALL,
    "gates=['delivery.latency.p99 < 20s', 'delivery.duplicates == 0']",
    "clients.commenters.publish.rate=20/s",
    "phases.measure=10s",
)


TOKEN = "a-token-of-this-test"


def fetch(url: str, data: bytes | None = None) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {TOKEN}"})
    with opener.open(request, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@contextmanager
def serving(results: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `loadgen run --web`; yield the process and the UI's URL."""
    port = free_port()
    process = start(
        "run", "comments", "--results", str(results), "--web", "--web-port", str(port), *arguments,
        *overrides(SCENARIO), env={"LOADGEN_WEB_TOKEN": TOKEN},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:

        def answers() -> bool:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(OSError):
                fetch(url)
                return True
            return False

        until(answers, "the UI answers")
        yield process, url
    finally:
        stop(process)


def stop(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C until the process ends: the first time ends a run that is not over, the next time ends the UI."""
    for patience_s in (3, 10, 10, 10):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=patience_s)
            return
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    raise AssertionError("it did not end by Ctrl-C")


TAB = "[...document.querySelectorAll('[role=tab]')].find(tab => tab.innerText.toLowerCase() === 'fan-out')"


#: Presses Locust's Start button until a request is sent, because a press before the page is ready does
#: nothing.
PRESS_START = """(() => {
    if (performance.getEntriesByType('resource').some(entry => entry.name.endsWith('/swarm'))) return true;
    const button = [...document.querySelectorAll('button')].find(each => /^start/i.test(each.innerText));
    if (button && Date.now() > (window.pressedUntil || 0)) {
        window.pressedUntil = Date.now() + 3000;
        button.click();
    }
    return false;
})()"""


def tile(page: Page, name: str) -> str:
    return page.text(f".fan-out-tile[data-name={name}] b")


def drawn(page: Page, title: str) -> list[str]:
    """Return the SVG paths of a chart's lines."""
    paths: list[str] = page.run(
        f"[...document.querySelectorAll('[data-title={json.dumps(title)}] path.line')].map(p => p.getAttribute('d'))"
    )
    return paths


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_fan_out_tab_shows_what_the_summary_says_afterwards(tmp_path: Path) -> None:
    with ExitStack() as stack:
        process, url = stack.enter_context(serving(tmp_path, "--processes", "2"))
        browser = stack.enter_context(Browser())
        with browser.page(f"{url}?token={TOKEN}", width=1500, height=1000) as page:
            # Locust's own page shows its start button, and later its tabs together with the Fan-out tab.
            page.wait("[...document.querySelectorAll('button')].some(b => /start/i.test(b.innerText))")
            coming = dict(json.loads(fetch(f"{url}/fan-out/data"))["coming"])
            page.wait("!!document.querySelector('#fan-out-coming dd')")
            assert coming["Clients"] in page.text("#fan-out-coming")
            assert coming["Clients"] == f"{READERS + 3}: {READERS} readers, 3 commenters"
            assert coming["Target"].startswith("http://127.0.0.1:")
            assert fetch(f"{url}/metrics") == ""
            page.wait(PRESS_START)
            # Locust shows the Fan-out tab by itself once the run begins.
            page.wait(f"{TAB}?.getAttribute('aria-selected') === 'true'")
            page.wait("!!document.querySelector('#fan-out .fan-out-tile')")
            page.wait("document.querySelector('#fan-out').dataset.phase === 'measure'")
            # While the run goes on, every chart of latency and load has lines.
            page.wait(
                "[...document.querySelectorAll('[data-title^=\"Fan-out latency\"] path.line')]"
                ".some(p => (p.getAttribute('d').match(/L/g) || []).length >= 2)"
            )
            live = {
                (sample.name, *sorted(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(fetch(f"{url}/metrics"))
                for sample in family.samples
            }
            assert live["loadgen_connections_planned", ("scenario", "comments")] == READERS
            assert sum(value for (name, *_), value in live.items() if name == "loadgen_phase") == 1
            workers = {
                value
                for _, *labels in (each for each in live if each[0] == "loadgen_deliveries_total")
                for name, value in labels
                if name == "worker"
            }
            assert workers == {"0", "1"}
            assert "known at the end" in page.text(".fan-out-gates")
            until(lambda: list(tmp_path.glob("*/summary.json")) or process.poll() is not None, "the summary")
            page.wait("document.querySelector('#fan-out').dataset.phase === 'ended'")
            summary = read(only_run(tmp_path) / "summary.json")
            ledger, manifest = summary["ledger"], read(only_run(tmp_path) / "manifest.json")
            page.wait("document.querySelector('.fan-out-tile[data-name=deliveries] b').innerText !== '–'")
            data: dict[str, Any] = json.loads(fetch(f"{url}/fan-out/data"))
            assert data["run"] == only_run(tmp_path).name
            # The page's counts equal the ledger's. Its percentiles equal those of the recorded deliveries to three
            # digits, the precision of the histogram.
            assert data["so_far"]["deliveries"] == ledger["delivered"] + ledger["late"] + ledger["duplicates"]
            assert data["so_far"]["expected"] == ledger["expected"]
            table = pd.read_parquet(only_run(tmp_path) / "deliveries.parquet")
            (begun_ns,) = [phase["start_ns"] for phase in manifest["phases"] if phase["name"] == "measure"]
            measured = table[table.intended_ns >= begun_ns]
            latencies = np.sort((measured.arrival_ns - measured.intended_ns).to_numpy())
            assert latencies[-1] == summary["delivery"]["headline_ns"]["max"]
            for statistic, percentile in (("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)):
                rank = max(1, int(percentile / 100 * len(latencies) + 0.5))
                seen = data["so_far"]["latency_ns"][statistic]
                assert seen == pytest.approx(latencies[rank - 1], rel=0.001, abs=512), statistic
            assert number(tile(page, "deliveries")) == ledger["delivered"]
            assert "20s" in page.text(".fan-out-gates")
            assert "known at the end" not in page.text(".fan-out-gates")
            # The page shows the summary's verdict, and how to make the report, since this run made none.
            assert page.text(".fan-out-result strong") == verdict(summary)[1]
            assert f"Exit code {summary['exit_code']} " in page.text(".fan-out-result small")
            assert page.text(".fan-out-result code") == f"loadgen report {only_run(tmp_path)}"
            for chart in ("Deliveries", "Events", "Connections", "First and last subscriber, last 10 s"):
                assert all(line.startswith("M") for line in drawn(page, chart)), chart
            assert not [problem for problem in page.problems if "fan-out" in problem]
    with pytest.raises(OSError):
        fetch(url)


def test_an_interrupted_run_keeps_its_record_and_closes_the_endpoint(
    tmp_path: Path, service: Service
) -> None:
    port = free_port()
    process = start(
        "run", "comments", "--results", str(tmp_path), "--prometheus", str(port), *service.options,
        *overrides((*SMALL, "phases.measure=60s")),
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/metrics"
    try:

        def tells() -> bool:
            assert process.poll() is None, process.communicate()
            with contextlib.suppress(OSError):
                return 'loadgen_fanout_latency_recent_seconds{scenario="comments",statistic="p99"}' in fetch(
                    url
                )
            return False

        until(tells, "a latency at /metrics")
        # The latency at /metrics may come from the warm-up, which the summary leaves out. So let the
        # measurement run for a second.
        wait_for_phase(tmp_path, "measure")
        time.sleep(1)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=STUCK_S)
    assert process.returncode == 130, (out, err)
    assert f"Prometheus: {url}" in err
    assert "Traceback" not in err
    summary = read(only_run(tmp_path) / "summary.json")
    assert summary["status"] == "interrupted"
    assert summary["delivery"]["headline_ns"]["p99"] is not None
    with pytest.raises(OSError):
        fetch(url)


HOSTS = """
import os, sys
os.chdir({repo!r})
sys.argv = ["locust", "-f", "locustfile.py"]
from locust.util.load_locustfile import load_locustfile; load_locustfile("locustfile.py")
from locust.argument_parser import get_parser
print(get_parser().parse_args().web_host, get_parser().parse_args(["--web-host", "0.0.0.0"]).web_host)
"""


def test_plain_locust_listens_on_the_loopback_interface_unless_told_otherwise(
    tmp_path: Path, commands: Player
) -> None:
    script = tmp_path / "hosts.py"
    script.write_text(HOSTS.format(repo=str(REPO)))
    asked = commands.play(script)
    assert asked.out.split() == ["127.0.0.1", "0.0.0.0"], asked.err
