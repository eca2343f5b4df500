"""A ClockBound daemon's word beside the pings of a run; the daemon is a file of its documented layout."""

import os
import time
from pathlib import Path

import pandas as pd

import analysis
from tests.measure.test_clockbound import segment
from tests.system.harness import SMALL, Finished, free_port, only_run, overrides, read, start
from tests.system.run.test_clocks import MS, WrongClock

US = 1_000
SECOND = 1_000_000_000


def test_a_daemon_that_vouches_for_a_wrong_clock_is_contradicted_by_the_pings(tmp_path: Path) -> None:
    shm = tmp_path / "shm0"
    # It grows by 1 µs a second: the run takes less than a hundred.
    now_ns = time.monotonic_ns()
    shm.write_bytes(
        segment(as_of_ns=now_ns, void_after_ns=now_ns + 600 * SECOND, bound_ns=70 * US, drift_ppb=1_000)
    )
    said = {"LOADGEN_CLOCKBOUND": str(shm)}
    clock = WrongClock(tmp_path / "clock", 500 * MS)
    port, results = str(free_port()), tmp_path / "results"
    master = start(
        *("run", "comments", "--master", "--master-port", port, "--expect-workers", "2"),
        *("--results", str(results)),
        *overrides((*SMALL, "phases.measure=1500ms")),
        env=said,
    )
    worker = ("run", "comments", "--worker", "--master-port", port)
    # One of the two has no daemon.
    workers = [
        start(*worker, env={**clock.env, **said}),
        start(*worker, env={"LOADGEN_CLOCKBOUND": os.devnull}),
    ]
    finished = Finished(master, 120)
    for process in workers:
        Finished(process, 60)
    folder = only_run(results)
    pings = pd.read_parquet(folder / "clock.parquet")
    assert pings["master_bound_ns"].between(70 * US, 170 * US).all(), finished.said
    known = pings.groupby("worker")["bound_ns"].apply(lambda bounds: bounds.notna().mean())
    assert sorted(known) == [0.0, 1.0]
    (its,) = known.index[known == 1.0]
    assert pings.loc[pings["worker"] == its, "bound_ns"].between(70 * US, 170 * US).all()
    summary = read(folder / "summary.json")
    (entry,) = summary["clock"]["clockbound"]
    assert entry["worker"] == its
    assert entry["pings"] == entry["vouched"] == entry["contradicted"] == (pings["worker"] == its).sum()
    assert 400 * MS < entry["apart_ns"] < 500 * MS
    (finding,) = [f for f in summary["verdict"]["findings"] if "ClockBound" in f["reason"]]
    assert (finding["severity"], finding["subject"]) == ("degraded", "clock")
    # The pings have the last word: the clock is corrected all the same.
    deliveries = analysis.load(folder).deliveries
    # Each worker's quickest: the rest waits on a busy machine.
    quickest = (deliveries["arrival_ns"] - deliveries["intended_ns"]).groupby(deliveries["worker"]).min()
    assert len(quickest) == 2
    assert (quickest.abs() < 100 * MS).all(), quickest
