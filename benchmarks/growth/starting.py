"""How the cost of work that is done once, before or after a run, grows with the size of the run."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

from streams.process import StreamError

from analysis.record.folders import runs_in
from growth.axis import Axis, Measure, as_it_is
from loadgen.resolve import Clients
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.shares import shares

_REPO = Path(__file__).resolve().parents[2]
_SCENARIO = """
version: 1
variables:
  room: {{count: {channels}}}
clients:
  readers:
    count: {clients}
    ramp: {ramp}/s
    subscribe: [{subscribe}]
  writers:
    count: 1
    publish: {{channel: "/default/growth/{{room}}", rate: 200/s}}
phases: {{ready: probe, ready_timeout: 60s, warmup: 0s, measure: 3s, drain: 1s}}
"""


def _scenario(folder: Path, clients: int, each: int, count: int, ramp: int) -> Path:
    path = folder / "growth.yaml"
    entries = ", ".join(['"/default/growth/{room}"'] * each)
    path.write_text(_SCENARIO.format(channels=count, clients=clients, subscribe=entries, ramp=ramp))
    return path


def planning(quick: bool) -> Axis:
    """Time the planning of all clients, and the workers' claims of clients."""
    axis = Axis(
        "planning",
        "clients",
        (Measure("resolving, totals and every client", "ms", as_it_is), Measure("claims", "ms", as_it_is)),
        "one subscription each of 1,000 channels; claims in turns of 100",
    )
    with tempfile.TemporaryDirectory() as name:
        for n in (1_000, 10_000, 50_000) if quick else (100, 1_000, 5_000, 20_000, 50_000, 100_000):
            scenario = load(str(_scenario(Path(name), n, 1, 1_000, 10_000)))
            began = time.perf_counter()
            run = resolve(scenario)
            plan = Clients(run)
            _ = run.totals
            for number in range(n):
                plan.client(number)
            planned = time.perf_counter()
            # Take the clients from the pool of free ones, 100 at a time, as the master does when workers claim clients.
            (share,) = shares(run, [Fraction(1)])
            free = share.free["subscriber"]
            while free:
                [free.popleft() for _ in range(min(100, len(free)))]
            axis.points.append((n, [(planned - began) * 1e3, (time.perf_counter() - planned) * 1e3]))
    return axis


def probing(quick: bool) -> Axis:
    """Vary the number of channels of a whole run, and time its readiness probes and its report."""
    axis = Axis(
        "probing",
        "channels",
        (
            Measure("all proven ready after", "s", as_it_is, less_the_first=True),
            Measure("report", "CPU s", as_it_is, less_the_first=True),
        ),
        "`loadgen run` and `loadgen report`: 10,000 subscriptions on 50 connections",
    )
    for n in (1, 1_000, 10_000) if quick else (1, 100, 1_000, 3_000, 10_000):
        with tempfile.TemporaryDirectory(prefix="loadgen-growth-") as name:
            folder = Path(name)
            record = _whole_run(_scenario(folder, 50, 200, n, 50), folder)
            axis.points.append((n, [_ready_s(record), _report_s(record)]))
    return axis


def _whole_run(scenario: Path, folder: Path) -> Path:
    command = [sys.executable, "-m", "loadgen", "run", str(scenario), "--results", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(_REPO)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=180)
    found = runs_in(folder, "summary.json")
    if not found:
        raise StreamError(f"a run left no summary: {done.stderr[-500:]}")
    return found[0]


def _ready_s(record: Path) -> float:
    """Return how long after the last acknowledgement the last subscription was ready."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(record / "subscriptions.parquet", columns=["acknowledged_ns", "ready_ns"])
    if table["ready_ns"].null_count:
        raise StreamError("not every subscription was ready")
    return float((pc.max(table["ready_ns"]).as_py() - pc.max(table["acknowledged_ns"]).as_py()) / 1e9)


def _report_s(record: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(_REPO)}
    command = [sys.executable, "-m", "loadgen", "report", str(record)]
    subprocess.run(command, env=environment, capture_output=True, timeout=180, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
