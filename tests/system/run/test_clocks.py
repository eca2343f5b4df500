"""Test workers whose clocks are wrong by a known amount (see shifted/sitecustomize.py).

The kernel's timestamps stay true, so these workers must notice the difference and stamp arrivals themselves.
"""

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from tests.measure.test_clockbound import segment
from tests.paths import REPO
from tests.system.harness import Finished, free_port, only_run, overrides, read, start, wait_for_phase
from tests.system.run.waiting import PATIENCE_S, ended_by_verdict

SHIFTED = Path(__file__).parent / "shifted"
US = 1_000
MS = 1_000_000
SECOND = 1_000_000_000
LOAD = (
    "gates=[]",
    "clients.readers.count=40",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=4",
    "clients.commenters.publish.rate=45/s",
    "phases.warmup=500ms",
    "phases.drain=500ms",
)


class WrongClock:
    """The wall clock of processes that are started with the environment ``env``."""

    def __init__(self, path: Path, offset_ns: int, drift_ppm: float = 0.0) -> None:
        self._path = path
        self.env = {"SHIFTED_CLOCK": str(path), "PYTHONPATH": f"{SHIFTED}:{REPO}"}
        # Rows of (steady time from which the row applies, offset in ns, drift in ppm, steady time at which the drift
        # starts from zero).
        self._settings = [(0, offset_ns, drift_ppm, time.monotonic_ns())]
        self._write()

    def set(self, offset_ns: int) -> None:
        """Make the clock step to another offset."""
        self._settings = [(0, offset_ns, self._settings[-1][2], time.monotonic_ns())]
        self._write()

    def slew(self, *turns: tuple[int, float]) -> None:
        """Change the clock's rate at moments of the steady clock that are still to come."""
        for begin_ns, drift_ppm in turns:
            self._settings.append((begin_ns, self._ahead_ns(begin_ns), drift_ppm, begin_ns))
        self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text("".join(f"{' '.join(map(str, setting))}\n" for setting in self._settings))
        new.replace(self._path)

    def _ahead_ns(self, steady_ns: int) -> int:
        _, offset_ns, drift_ppm, since_ns = [each for each in self._settings if each[0] <= steady_ns][-1]
        return round(offset_ns + drift_ppm * 1e-6 * (steady_ns - since_ns))

    def offset_ns(self, true_ns: int) -> int:
        """Return how far the clock is ahead when the true wall clock shows ``true_ns``."""
        return self._ahead_ns(time.monotonic_ns() + true_ns - time.time_ns())


def earliest_ns(run: Any) -> int:
    """Return by how much the earliest publish was sent before its due time, by the corrected clocks."""
    events = run.events.dropna(subset=["sent_ns"])
    return int((events["intended_ns"] - events["sent_ns"]).max())


def run_with(
    results: Path,
    measure: str,
    *environments: dict[str, str],
    more: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
) -> tuple[Any, list[Any]]:
    """Start a master with ``env`` and a worker for each of ``environments``; return the processes."""
    port = str(free_port())
    master = start(
        *("run", "comments", "--master", "--master-port", port, "--expect-workers", str(len(environments))),
        *("--results", str(results)),
        *overrides((*LOAD, f"phases.measure={measure}", *more)),
        env=env,
    )
    return master, [
        start("run", "comments", "--worker", "--master-port", port, env=env) for env in environments
    ]


@dataclass(frozen=True)
class Drifted:
    """A run of two workers with very wrong clocks; a ClockBound daemon nevertheless vouches for one."""

    clocks: list[WrongClock]
    finished: Finished
    folder: Path
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def drifted(tmp_path_factory: pytest.TempPathFactory) -> Drifted:
    folder = tmp_path_factory.mktemp("drifted")
    clocks = [WrongClock(folder / f"clock{n}", sign * 480 * MS, 50) for n, sign in enumerate((1, -1))]
    # This file simulates the ClockBound daemon, in the daemon's documented layout. The bound on the clock error grows
    # by 1 µs a second, for up to 100 s.
    shm, now_ns = folder / "shm0", time.monotonic_ns()
    shm.write_bytes(
        segment(as_of_ns=now_ns, void_after_ns=now_ns + 600 * SECOND, bound_ns=70 * US, drift_ppb=1_000)
    )
    said = {"LOADGEN_CLOCKBOUND": str(shm)}
    # The second worker has no daemon.
    environments = ({**clocks[0].env, **said}, {**clocks[1].env, "LOADGEN_CLOCKBOUND": os.devnull})
    master, workers = run_with(folder / "results", "4s", *environments, env=said)
    finished = Finished(master, 120)
    for worker in workers:
        Finished(worker, 60)
    return Drifted(clocks, finished, *ended_by_verdict(finished, folder / "results"))


def test_clocks_that_are_shifted_and_drift_are_corrected_within_the_stated_error(drifted: Drifted) -> None:
    clocks, folder, summary = drifted.clocks, drifted.folder, drifted.summary
    run = analysis.load(folder)
    assert run.measure is not None
    fits = sorted(run.clocks.values(), key=lambda fit: fit.offset_ns or 0)
    for fit, clock in zip(fits, clocks, strict=True):
        assert not fit.shared
        assert fit.pings > 30
        assert fit.error_ns is not None
        assert fit.error_ns < 20 * MS
        # At both ends of the measurement the corrected clock shows the true time, within the stated error.
        for true_ns in (run.measure.start_ns, run.measure.end_ns):
            worker_ns = np.array([true_ns + clock.offset_ns(true_ns)], dtype=np.int64)
            corrected_ns = worker_ns + fit.correction_ns(worker_ns)
            assert (
                abs(int(corrected_ns[0]) - true_ns) <= fit.error_ns + 10_000
            )  # reading two clocks takes up to 10 µs
    for fit, clock in zip(fits, clocks, strict=True):
        # The stated offset is the one at the start of the measurement, because the clock drifts.
        ahead_ns = clock.offset_ns(run.measure.start_ns)
        assert abs(ahead_ns) > 400 * MS
        assert abs((fit.offset_ns or 0) + ahead_ns) <= (fit.error_ns or 0) + 10_000
    print([fit.to_dict() for fit in fits], summary["delivery"]["headline_ns"])
    # Publishers used the clock offset that was known when they published. It was only slightly less exact than the
    # final offset, so they did not publish much too early.
    assert earliest_ns(run) <= max(fit.error_ns or 0 for fit in fits) + MS // 5
    # Without the correction, recorded latencies are wrong by more than 400 ms in both directions.
    raw = pd.read_parquet(folder / "deliveries.parquet")
    believed = raw["arrival_ns"] - raw["intended_ns"]
    assert (believed < -400 * MS).any()
    assert (believed > 400 * MS).any()
    # All deliveries arrived, and the run's ledger counts none as missing.
    ledger, headline = summary["ledger"], summary["delivery"]["headline_ns"]
    assert ledger["balances"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 1000
    # An error of ± 0.2 ms for a p99 below 1 ms makes a run degraded, but not invalid.
    of_clocks = [each for each in summary["verdict"]["findings"] if each["subject"] == "clock"]
    assert {each["severity"] for each in of_clocks} <= {"degraded"}
    assert headline["error_ns"] == max(fit.error_ns or 0 for fit in fits)
    assert -headline["error_ns"] - 10_000 <= headline["min"]
    assert summary["connections"]["kernel_timestamps"] == 0
    assert "±" in drifted.finished.out
    # With corrected clocks, each worker's quickest delivery takes almost no time, about the same on both workers. Other
    # deliveries may wait on a busy machine.
    latencies = run.deliveries.assign(ns=lambda rows: rows.arrival_ns - rows.intended_ns)
    quickest = latencies.groupby("worker")["ns"].min().to_numpy(dtype=float)
    assert len(quickest) == 2
    assert quickest.max() < 50 * MS
    assert np.ptp(quickest) <= 2 * headline["error_ns"] + 5 * MS


def test_a_daemon_that_vouches_for_a_wrong_clock_is_contradicted_by_the_pings(drifted: Drifted) -> None:
    summary = drifted.summary
    pings = pd.read_parquet(drifted.folder / "clock.parquet")
    assert pings["master_bound_ns"].between(70 * US, 170 * US).all(), drifted.finished.said
    known = pings.groupby("worker")["bound_ns"].apply(lambda bounds: bounds.notna().mean())
    assert sorted(known) == [0.0, 1.0]
    (its,) = known.index[known == 1.0]
    assert pings.loc[pings["worker"] == its, "bound_ns"].between(70 * US, 170 * US).all()
    (entry,) = summary["clock"]["clockbound"]
    assert entry["worker"] == its
    assert entry["pings"] == entry["vouched"] == entry["contradicted"] == (pings["worker"] == its).sum()
    assert 400 * MS < entry["apart_ns"] < 500 * MS
    (finding,) = [f for f in summary["verdict"]["findings"] if "ClockBound" in f["reason"]]
    assert (finding["severity"], finding["subject"]) == ("degraded", "clock")
    # Where the pings contradict the daemon, the pings decide. So the clock is corrected.
    deliveries = analysis.load(drifted.folder).deliveries
    # Take each worker's quickest delivery, as others may wait on a busy machine.
    quickest = (deliveries["arrival_ns"] - deliveries["intended_ns"]).groupby(deliveries["worker"]).min()
    assert len(quickest) == 2
    assert (quickest.abs() < 100 * MS).all(), quickest


def test_a_clock_that_is_slewed_there_and_back_is_followed_and_nothing_is_sent_early(tmp_path: Path) -> None:
    """The clock's rate changes by ±500 ppm every 2 s, so it is up to 1 ms off any straight line."""
    clock = WrongClock(tmp_path / "clock", 20 * MS, 500)
    # A busy machine may begin the measurement late. So the run goes on for two seconds after it, because the clock is
    # checked until the planned end.
    master, (worker,) = run_with(tmp_path / "results", "6s", clock.env, more=("phases.drain=2s",))
    wait_for_phase(tmp_path / "results", "warmup", PATIENCE_S)
    # All changes of the clock's rate are written in advance with their times, so they apply on time even if the worker
    # reads them late.
    begin_ns, true_begin_ns = time.monotonic_ns() + SECOND, time.time_ns() + SECOND
    clock.slew(*((begin_ns + turn * 2 * SECOND, 500 if turn % 2 else -500) for turn in range(3)))
    moments = [true_begin_ns + quarter * SECOND // 4 for quarter in range(1, 24)]
    shown = [(true_ns, true_ns + clock.offset_ns(true_ns)) for true_ns in moments]
    finished = Finished(master, 120)
    Finished(worker, 60)
    folder, summary = ended_by_verdict(finished, tmp_path / "results")
    run = analysis.load(folder)
    assert run.measure is not None
    assert moments[-1] < run.measure.end_ns + 2 * SECOND
    (fit,) = run.clocks.values()
    assert fit.steady
    assert not fit.shared
    assert fit.steps == ()
    true_ns, worker_ns = np.array(shown, dtype=np.int64).T
    corrected_ns = worker_ns + fit.correction_ns(worker_ns)
    # Reading two clocks takes up to 10 µs.
    assert (np.abs(corrected_ns - true_ns) <= fit.error_ns_at(corrected_ns) + 10_000).all()
    assert earliest_ns(run) <= (fit.error_ns or 0) + MS // 5
    print(fit.to_dict(), "earliest", earliest_ns(run))
    lateness = summary["publish"]["lateness_ns"]
    assert 0 < lateness["error_ns"] <= (fit.error_ns or 0)


def test_a_step_of_a_workers_clock_is_noticed_and_makes_the_run_invalid(tmp_path: Path) -> None:
    clock = WrongClock(tmp_path / "clock", 0)
    master, (worker,) = run_with(tmp_path / "results", "4s", clock.env)
    wait_for_phase(tmp_path / "results", "measure", PATIENCE_S)
    time.sleep(1)
    clock.set(200 * MS)
    finished = Finished(master, 120)
    Finished(worker, 60)
    assert finished.code == 3, finished.said
    summary = read(only_run(tmp_path / "results") / "summary.json")
    (step,) = summary["clock"]["steps"]
    assert abs(step["moved_ns"] - 200 * MS) < 20 * MS
    reasons = [f["reason"] for f in summary["verdict"]["findings"] if f["subject"] == "clock"]
    assert any("the clock of worker 0 stepped by +" in reason for reason in reasons)


def test_the_shift_is_what_python_reads(tmp_path: Path) -> None:
    """The tests above depend on this."""
    clock = WrongClock(tmp_path / "clock", 500 * MS)
    command = [sys.executable, "-c", "import time; print(time.time_ns())"]
    before_ns = time.time_ns()
    shown = subprocess.run(command, env=clock.env, capture_output=True, text=True, check=True)
    after_ns = time.time_ns()
    # The process read its clock at some moment between `before_ns` and `after_ns`.
    assert before_ns + 500 * MS <= int(shown.stdout) <= after_ns + 500 * MS
