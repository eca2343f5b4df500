"""Workers whose clocks are wrong by a known amount: faketime shifts what they read, and nothing else.

Kernel timestamps are not faked, so these workers must notice and stamp arrivals themselves.
"""

import os
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import analysis
from tests.run.harness import Finished, free_port, only_run, overrides, read, start, wait_for_phase

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
pytestmark = pytest.mark.skipif(not LIBRARIES, reason="needs Debian's faketime")

MS = 1_000_000
LOAD = (
    "clients.readers.count=40",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=4",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=1s",
    "phases.measure=8s",
    "phases.drain=1s",
)


BOOT_NS = time.monotonic_ns()


def faked(offset: str | Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off: by so much, or by what a file says at each moment.

    faketime can make a clock drift by itself, but then sleeps fail (EINVAL from clock_nanosleep): a file does as well.
    """
    where: dict[str, str] = {}
    if isinstance(offset, str):
        where = {"FAKETIME": offset}
    else:
        # Read anew once a second: with every reading of the clock it would keep the worker busy.
        where = {"FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_CACHE_DURATION": "1"}
    # Steady clocks stay true: it is the wall clock that is wrong.
    steady = {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    return {"LD_PRELOAD": str(LIBRARIES[0]), **where, **steady}


class Drifting:
    """A file with an offset that grows evenly, in steps of some microseconds."""

    def __init__(self, path: Path, offset_ns: int, drift_ppm: float) -> None:
        self.path = path
        self._offset_ns, self._drift_ppm = offset_ns, drift_ppm
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._drift, daemon=True)
        self._write()
        self._thread.start()

    def offset_ns(self, at_ns: int) -> float:
        """Return the offset when the true wall clock shows ``at_ns``."""
        now_ns, steady_ns = time.time_ns(), time.monotonic_ns()
        return self._offset_ns + self._drift_ppm * 1e-6 * (steady_ns - BOOT_NS + at_ns - now_ns)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _drift(self) -> None:
        while not self._over.wait(0.05):
            self._write()

    def _write(self) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(f"{self.offset_ns(time.time_ns()) / 1e9:+.7f}")
        new.replace(self.path)


def run_with(results: Path, *environments: dict[str, str]) -> tuple[Any, list[Any]]:
    """Start a master and workers with these environments; return the processes."""
    port = str(free_port())
    master = start(
        *("run", "comments", "--master", "--master-port", port, "--expect-workers", str(len(environments))),
        *("--results", str(results)),
        *overrides(LOAD),
    )
    return master, [
        start("run", "comments", "--worker", "--master-port", port, env=env) for env in environments
    ]


def test_clocks_that_are_shifted_and_drift_are_corrected_within_the_stated_error(tmp_path: Path) -> None:
    drifting = [Drifting(tmp_path / f"clock{n}", sign * 500 * MS, 50) for n, sign in enumerate((1, -1))]
    master, workers = run_with(tmp_path / "results", *(faked(clock.path) for clock in drifting))
    finished = Finished(master, 90)
    said = [Finished(worker, 30).said for worker in workers]
    for clock in drifting:
        clock.stop()
    # On a loaded machine faketime itself stalls the workers; the run then says so and exits 3. Not what is tested here.
    assert finished.code in (0, 3), "\n".join([finished.said, *said])
    folder = only_run(tmp_path / "results")
    summary, run = read(folder / "summary.json"), analysis.load(folder)
    assert run.measure is not None
    fits = sorted(run.clocks.values(), key=lambda fit: fit.offset_ns or 0)
    for fit, clock in zip(fits, drifting, strict=True):
        assert not fit.shared
        assert fit.pings > 30
        assert fit.error_ns is not None
        assert fit.error_ns < 20 * MS
        # At both ends of the measurement the corrected clock shows the true time, to within the stated error.
        for true_ns in (run.measure.start_ns, run.measure.end_ns):
            worker_ns = np.array([true_ns + round(clock.offset_ns(true_ns))], dtype=np.int64)
            corrected_ns = worker_ns + fit.correction_ns(worker_ns)
            assert abs(int(corrected_ns[0]) - true_ns) <= fit.error_ns + 60_000  # a second's drift
    assert (fits[0].offset_ns or 0) < -499 * MS
    assert (fits[1].offset_ns or 0) > 499 * MS
    print([fit.to_dict() for fit in fits], summary["delivery"]["headline_ns"])
    # What a reader of the raw record would believe.
    raw = pd.read_parquet(folder / "deliveries.parquet")
    believed = raw["arrival_ns"] - raw["intended_ns"]
    assert (believed < -400 * MS).any()
    assert (believed > 400 * MS).any()
    # And what is true: all of it came in its time, and the ledger knows it.
    ledger, headline = summary["ledger"], summary["delivery"]["headline_ns"]
    assert ledger["balances"]
    assert ledger["delivered"] + ledger["late"] == ledger["expected"] > 1000
    assert "clock" not in {finding["subject"] for finding in summary["verdict"]["findings"]}
    assert headline["error_ns"] == max(fit.error_ns or 0 for fit in fits)
    assert -headline["error_ns"] - 60_000 <= headline["min"]  # as above
    assert headline["p50"] < 50 * MS
    assert summary["connections"]["kernel_timestamps"] == 0
    assert "±" in finished.out
    # Corrected, the workers agree with each other.
    latencies = run.deliveries.assign(ns=lambda rows: rows.arrival_ns - rows.intended_ns)
    medians = latencies.groupby("worker")["ns"].median().to_numpy(dtype=float)
    assert np.ptp(medians) <= 2 * headline["error_ns"] + 5 * MS


def test_a_step_of_a_workers_clock_is_noticed_and_makes_the_run_invalid(tmp_path: Path) -> None:
    setting = tmp_path / "faketimerc"
    setting.write_text("+0")
    master, (worker,) = run_with(tmp_path / "results", faked(setting))
    wait_for_phase(tmp_path / "results", "measure")
    time.sleep(3)
    setting.write_text("+0.2")
    finished = Finished(master, 90)
    Finished(worker, 30)
    assert finished.code == 3, finished.said
    summary = read(only_run(tmp_path / "results") / "summary.json")
    (step,) = summary["clock"]["steps"]
    assert abs(step["moved_ns"] - 200 * MS) < 20 * MS
    reasons = [f["reason"] for f in summary["verdict"]["findings"] if f["subject"] == "clock"]
    assert any("the clock of worker 0 stepped by +" in reason for reason in reasons)


def test_faketime_shifts_what_python_reads() -> None:
    """The tests above mean nothing where it does not."""
    environment = {**os.environ, **faked("+0.5")}
    shown = subprocess.run(
        ["python3", "-c", "import time; print(time.time_ns())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 400 * MS < int(shown.stdout) - time.time_ns() < 600 * MS
