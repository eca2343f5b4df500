"""Test workers on separate machines: no shared files, slow network, different clocks, workers that leave.

Without network namespaces the same runs use loopback addresses of this machine, and the tests print that.
"""

import os
import signal
import subprocess
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd
import psutil
import pyarrow.compute as pc
import pytest

import analysis
from loadgen.measure.spool import read_batches
from loadgen.run.join import make, write
from loadgen.run.options import WEIGHT
from loadgen.run.shares import turns, weight_of
from tests.paths import REPO
from tests.system.harness import Finished, free_port, overrides, read, wait_for_phase
from tests.system.run.netns import Net, network
from tests.system.run.test_clocks import MS, SECOND, WrongClock
from tests.system.run.waiting import PATIENCE_S, ended_by_verdict, until
from tests.system.users.player import Player

pytestmark = pytest.mark.long

KEY = {"DISTRIBUTED_KEY": "da2-" + "d" * 26}
LOAD = (
    "gates=[]",
    "clients.readers.count=39",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=3",
    "clients.commenters.publish.rate=60/s",
    "phases.warmup=500ms",
    "phases.drain=1s",
)


class Site:
    """A server under test and a master, both in the central network namespace (the hub)."""

    def __init__(self, net: Net, results: Path, expect: int, *settings: str) -> None:
        self.net, self.results, self.port = net, results, str(free_port())
        self.join = net.scratch / "run.join"
        write(self.join, make())
        target = str(free_port())
        self.server = net.on_hub(
            *("serve", "--host", net.hub, "--port", target, "--api-key-env", "DISTRIBUTED_KEY"), env=KEY
        )
        assert self.server.stdout is not None
        said = self.server.stdout.readline()
        assert "is ready" in said, said
        self.master = net.on_hub(
            *("run", "comments", "--master", "--expect-workers", str(expect)),
            *("--master-bind-host", net.hub, "--master-port", self.port, "--results", str(results)),
            *("--join", str(self.join)),
            *("--target", f"http://{net.hub}:{target}/event", "--api-key-env", "DISTRIBUTED_KEY"),
            "--allow-remote",
            *overrides([*LOAD, *settings]),
            env=KEY,
        )
        #: Lines that the master has printed, read as they come; `communicate` would lose those in the pipe's
        #: buffer.
        self.lines: list[str] = []
        stderr, self.master.stderr = self.master.stderr, None
        assert stderr is not None
        self._reader = threading.Thread(target=self._read, args=(stderr,), daemon=True)
        self._reader.start()
        self.worker = (
            *("run", "--worker", "--master-host", net.hub, "--master-port", self.port),
            *("--allow-env", "DISTRIBUTED_KEY", "--join", str(self.join)),
        )

    def _read(self, stderr: IO[str]) -> None:
        for line in stderr:
            self.lines.append(line)

    @property
    def said(self) -> str:
        if self.master.poll() is not None:
            self._reader.join(10)
        return "".join(self.lines)

    def close(self) -> None:
        for process in (self.master, self.server):
            if process.poll() is None:
                process.terminate()
                Finished(process, 30)


def shown(net: Net) -> None:
    if not net.separate:
        warnings.warn("no network namespaces here: loopback addresses were used", stacklevel=2)


def old_version(folder: Path) -> dict[str, str]:
    """Return an environment in which a Python process believes that loadgen's version is 0.0.9."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text("import loadgen.version\nloadgen.version.VERSION = '0.0.9'\n")
    return {"PYTHONPATH": f"{folder}:{REPO}"}


@dataclass(frozen=True)
class Gathered:
    """A finished run of workers on two simulated machines, whose record the master collected."""

    net: Net
    clock: WrongClock
    finished: Finished
    site: Site
    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    """Make a run in which one clock is 250 ms ahead and drifts, and cables delay and lose packets.

    Echoes are on by default, since the workers are on two machines.
    """
    tmp_path = tmp_path_factory.mktemp("gathered")
    results = tmp_path / "hidden" / "results"
    results.mkdir(parents=True)
    clock = WrongClock(tmp_path / "clock", 250 * MS, 20)
    with network(tmp_path, 2, delay_ms=5, loss=0.002, hidden=[tmp_path / "hidden"]) as net:
        shown(net)
        asked = [] if net.separate else ["phases.echo=500ms"]
        site = Site(net, results, 2, "phases.measure=3s", *asked)
        try:
            old = net.on_node(1, *site.worker, env=old_version(tmp_path / "old"))
            refused = Finished(old, 120)
            assert refused.code == 2, refused.said
            assert "runs loadgen 0.0.9 and the master" in refused.err
            assert "install the same version on both" in refused.err
            # Start the right workers only after the refused one has ended. Locust counts the refused one as well, so
            # the run might begin with it and only one of the right ones.
            heavy = net.on_node(0, *site.worker, env={**KEY, **clock.env, WEIGHT: "2"})
            wait_until_here(site, heavy)
            light = net.on_node(1, *site.worker, "--weight", "1", env=KEY)
            finished = Finished(site.master, 120)
            for worker in (heavy, light):
                left = Finished(worker, 60)
                assert left.code == 0, left.said + site.said
        finally:
            site.close()
    folder, summary = ended_by_verdict(finished, results)
    return Gathered(net, clock, finished, site, folder, summary)


def test_a_run_over_separate_machines_is_gathered_whole_shared_by_weight_and_on_one_clock(
    gathered: Gathered,
) -> None:
    net, clock, site, folder, summary = (
        *(gathered.net, gathered.clock, gathered.site),
        *(gathered.folder, gathered.summary),
    )
    assert "0.0.9" in site.said
    manifest = read(folder / "manifest.json")
    first, second = manifest["workers"]
    assert (first["worker"], second["worker"]) == (0, 1)
    assert (first["weight"], second["weight"]) == (2.0, 1.0)
    assert (first["clients"], second["clients"]) == (28, 14)
    if net.separate:
        assert (first["address"], second["address"]) == (net.address(0), net.address(1))
        assert (first["hostname"], second["hostname"]) == ("node-0", "node-1")
        assert first["gathered_by"] == second["gathered_by"] == "messages"
    # Clients are dealt to the workers in turns by weight. Each is played by its own worker, and is the same client as
    # in any other run.
    dealt = turns([weight_of("2"), weight_of("1")], 42)
    subscriptions = pd.read_parquet(folder / "subscriptions.parquet")
    assert dict(zip(subscriptions["connection"], subscriptions["worker"], strict=True)) == dict(
        enumerate(dealt[:39])
    )
    events = pd.read_parquet(folder / "events.parquet")
    assert dict(zip(events["publisher"], events["worker"], strict=True)) == {
        number: dealt[number] for number in (39, 40, 41)
    }
    # The record has all rows that the workers wrote, and all deliveries of the events published.
    for table in ("deliveries", "events", "health", "clock"):
        rows = pd.read_parquet(folder / f"{table}.parquet")["worker"].value_counts().to_dict()
        assert rows == {w["worker"]: w["rows"][table] for w in manifest["workers"] if w["rows"].get(table)}
    ledger = summary["ledger"]
    assert ledger["balances"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 500
    assert (folder / "histograms.hlog").stat().st_size > 1000
    assert not (folder / "spool").exists()
    # One clock is ahead by 250 ms and the other is right. Both offsets are estimated as exactly as the
    # network allows.
    loaded = analysis.load(folder)
    fits = loaded.clocks
    assert loaded.measure is not None
    ahead_ns = clock.offset_ns(loaded.measure.start_ns)
    assert 249 * MS < ahead_ns < 260 * MS
    assert abs((fits[0].offset_ns or 0) + ahead_ns) < (fits[0].error_ns or 0) + MS
    if net.separate:
        assert not fits[1].shared
        assert abs(fits[1].offset_ns or 0) < (fits[1].error_ns or 0) + MS
        for fit in fits.values():
            assert fit.best_round_trip_ns is not None
            assert fit.best_round_trip_ns >= 10 * MS
            # The clock error is limited by the round trip of the quickest ping, which takes longer on a busy machine.
            assert 0 < (fit.error_ns or 0) < fit.best_round_trip_ns + 10 * MS
        assert summary["delivery"]["headline_ns"]["p50"] > 5 * MS
    each = {entry["worker"]: entry for entry in summary["workers"]["each"]}
    assert each[0]["deliveries"] + each[1]["deliveries"] == len(
        pd.read_parquet(folder / "deliveries.parquet")
    )
    assert each[0]["clock_error_ns"] == fits[0].error_ns
    assert each[1]["cpu_mean"] > 0


def test_on_separate_machines_the_echo_is_right_where_a_clock_is_wrong(gathered: Gathered) -> None:
    net, site, folder, summary = gathered.net, gathered.site, gathered.folder, gathered.summary
    print(summary["echo"], summary["clock"]["workers"], summary["delivery"]["service_ns"])
    assert summary["ledger"]["balances"], site.said
    assert summary["workers"]["foreign"] == 0
    least_ns = 20 * MS if net.separate else 0
    for each in summary["echo"]["each"]:
        assert each["returned"] == each["sent"] == 6
        # An echo takes 5 ms up (HTTP) and 5 ms down, and the clock that is 250 ms wrong does not affect it. Only the
        # fastest of six echoes is tested, because a busy machine delays some.
        assert least_ns / 2 <= each["service_ns"]["min"] < 120 * MS
    (pair,) = summary["echo"]["pairs"]
    assert pair["there_ns"] is not None
    assert pair["back_ns"] is not None
    # In the raw record, the clocks are 250 ms apart. Little of that is left after the correction.
    raw = pd.read_parquet(folder / "deliveries.parquet")
    assert (raw["arrival_ns"] - raw["sent_ns"]).abs().max() > 200 * MS
    assert abs(pair["apparent_ns"]) <= pair["asymmetry_ns"] + pair["error_ns"]
    assert gathered.finished.code in (0, 3), gathered.finished.said
    assert not [f for f in summary["verdict"]["findings"] if f["reason"].startswith("what workers")]
    assert analysis.load(folder).measure is not None


def wait_until_here(site: Site, worker: "subprocess.Popen[str]") -> None:
    """Wait until the master reports that a worker has joined.

    Workers that are started one after another then have known numbers.
    """
    until(lambda: "is here with weight" in site.said or worker.poll() is not None, "a worker comes")
    assert worker.poll() is None


def process_of(started: "subprocess.Popen[str]") -> psutil.Process:
    """Return the Locust process that was started by a `loadgen run --worker`."""
    for child in psutil.Process(started.pid).children(recursive=True):
        if "locust" in child.cmdline():
            return child
    raise AssertionError("no worker process")


def wait_for_rows(folder: Path, workers: int, since_ns: int) -> None:
    """Wait until the master's copy has, from every worker, a delivery that arrived after ``since_ns``."""

    def here() -> bool:
        newest = [
            max((pc.max(batch["arrival_ns"]).as_py() for batch in read_batches(path)), default=0)
            for path in (folder / "spool").glob("deliveries-*.arrows")
        ]
        return len(newest) == workers and min(newest) > since_ns

    until(here, "every worker's rows come while the run goes on")


@pytest.mark.timeout(240)
def test_workers_that_are_killed_told_to_end_cut_off_or_late_are_each_on_record_and_the_run_ends(
    tmp_path: Path,
) -> None:
    results = tmp_path / "hidden" / "results"
    results.mkdir(parents=True)
    with network(tmp_path, 3, delay_ms=2, hidden=[tmp_path / "hidden"]) as net:
        shown(net)
        # Each worker has a publisher. The surviving publishers send events to the clients of lost workers
        # too; these deliveries count as unobserved.
        settings = (
            "phases.measure=12s",
            "clients.commenters.count=4",
            "clients.commenters.publish.rate=20/s",
        )
        site = Site(net, results, 4, *settings)
        workers = [net.on_node(node, *site.worker, env=KEY) for node in range(3)]
        survivor = net.on_hub(*site.worker, env=KEY)
        try:
            # The late worker takes seconds to start.
            wait_for_phase(results, "ready", PATIENCE_S)
            late = net.on_hub(*site.worker, env=KEY)
            folder = wait_for_phase(results, "measure", PATIENCE_S)
            measure_ns = read(folder / "manifest.json")["phases"][-1]["start_ns"]
            wait_for_rows(folder, 4, measure_ns)
            pids = [process_of(worker).pid for worker in workers]
            # Workers send new rows to the master once a second. So a worker that is killed or cut off loses the rows of
            # this wait.
            time.sleep(0.3)
            os.kill(pids[0], signal.SIGKILL)
            os.kill(pids[1], signal.SIGTERM)
            if net.separate:
                net.cut(2)
            else:
                os.kill(pids[2], signal.SIGSTOP)
            began = time.monotonic()
            finished = Finished(site.master, 120)
            assert time.monotonic() - began < 60
            assert Finished(survivor, 60).code == 0
            spare = Finished(late, 60)
            killed, told = Finished(workers[0], 60), Finished(workers[1], 60)
            if not net.separate:
                os.kill(pids[2], signal.SIGKILL)
            cut = Finished(workers[2], 60)
        finally:
            site.close()
    assert finished.code == 3, site.said
    assert killed.code == 3, killed.said
    assert told.code == 130, told.said
    assert cut.code == 3, cut.said
    manifest, summary = read(folder / "manifest.json"), read(folder / "summary.json")
    by_pid = {entry["pid"]: entry for entry in manifest["workers"]}
    assert len(by_pid) == 4
    assert manifest["status"] == "failed"
    for pid in pids:
        assert not by_pid[pid]["finished"]
        assert f"pid {pid}" in manifest["reason"]
    assert by_pid[pids[1]]["left"] == "it was told to end"
    # The late worker prints why it has nothing to do, and the record lists it.
    assert spare.code == 0, spare.said
    assert "came after the run had begun: it stands by" in spare.err
    (entry,) = manifest["late_workers"]
    (phase,) = [each for each in manifest["phases"] if each["name"] == entry["phase"]]
    assert phase["start_ns"] - SECOND < entry["at_ns"] < phase["end_ns"] + SECOND
    # Deliveries that had arrived at each worker are kept.
    deliveries = pd.read_parquet(folder / "deliveries.parquet")
    for pid in pids:
        its = deliveries[deliveries["worker"] == by_pid[pid]["worker"]]
        assert (its["arrival_ns"] > measure_ns).any()
    # Deliveries to clients of the three lost workers are counted separately from losses of the service, and the run is
    # invalid.
    assert summary["verdict"]["kind"] == "invalid"
    assert summary["ledger"]["balances"]
    gone = {entry["worker"]: entry for entry in summary["workers"]["gone"]}
    assert set(gone) == {by_pid[pid]["worker"] for pid in pids}
    for number, entry in gone.items():
        held = next(w for w in manifest["workers"] if w["worker"] == number)
        assert entry["subscriptions"] == held["subscriptions"] > 0
        # The clients of each lost worker missed events: the surviving worker went on publishing to them.
        assert entry["unobserved_deliveries"] > 0
    assert sum(entry["unobserved_deliveries"] for entry in gone.values()) == summary["workers"]["unobserved"]
    assert "Locust" not in site.said


def test_a_master_does_not_wait_for_ever(tmp_path: Path, commands: Player) -> None:
    finished = commands.command(
        tmp_path,
        *("loadgen", "run", "comments", "--master", "--expect-workers", "2", "--workers-timeout", "2"),
        *("--master-port", str(free_port()), "--results", str(tmp_path)),
    )
    assert finished.code == 3, finished.said
    assert "0 of 2 workers came within 2 s" in finished.err
