"""How many workers and rows can one master handle? `python benchmarks/scale [--workers 1,10,50,100]`.

A real master (`loadgen run … --master --join`) gets N simulated workers (see `simulated.py`). They send made-up rows at
rising rates until the master falls behind. For each rate the table shows the CPU time and memory of the master's
process, and how long pings waited until the master read them. (The longer they wait, the less exact the clocks are.)

The master's CPU time per worker and per million rows is fitted to all rates with which the master kept up. With
`--stored` the workers store their rows in a folder instead of sending them (`loadgen run --spool-to`): then the table
shows what the master takes for everything else.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent), str(HERE.parent)]

import numpy as np  # noqa: E402
import psutil  # noqa: E402

from loadgen.run import join  # noqa: E402
from scale.simulated import Fleet  # noqa: E402

RATES = (0, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000)
#: Seconds left out at the start of each rate, because workers still send rows of the previous rate.
SETTLE_S = 1.5
START_S = 90.0
#: The master counts as keeping up if it takes at least this share of the bytes that workers record in the same time.
CARRIED = 0.97
#: A backlog of up to this many bytes per worker is normal, and does not count against the master.
SMALL_BYTES = 64 << 10


@dataclass(frozen=True)
class Step:
    """Figures of one rate. CPU times are in cores; ``carried`` is the share of recorded bytes that the master took."""

    workers: int
    rows_per_s: float
    carried: float
    bytes_per_row: float
    master_cpu: float
    our_cpu: float
    rss_bytes: int
    ping_p50_ns: float
    ping_p99_ns: float
    ping_max_ns: float

    @property
    def whole(self) -> bool:
        """True if the master kept up, which means that it took at least the share `CARRIED` of the recorded bytes."""
        return self.carried >= CARRIED


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Master:
    """A master's processes; the one that listens on the port is measured."""

    def __init__(
        self,
        workers: int,
        seconds: float,
        folder: Path,
        command: list[str],
        clients: int,
        storage: Path | None = None,
    ) -> None:
        self.port = _free_port()
        self.folder = folder
        self.key_file = folder / "run.join"
        join.write(self.key_file, join.make())
        self._log = (folder / "master.log").open("w")
        self.process = subprocess.Popen(
            [
                *command, "run", "broadcast", "--master", "--expect-workers", str(workers),
                "--master-bind-host", "127.0.0.1", "--master-port", str(self.port),
                "--join", str(self.key_file), "--results", str(folder / "results"), "--no-report",
                "--set", f"clients.audience.count={clients * workers}",
                "--set", f"clients.audience.ramp={10_000 * workers}/s",
                "--set", "phases.warmup=1s", "--set", f"phases.measure={seconds:.0f}s", "--set", "phases.drain=1s",
                *([] if storage is None else ["--spool-to", str(storage)]),
            ],
            stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self.measured = self._listener()

    def _listener(self) -> psutil.Process:
        """Return the process that listens on the master's port."""
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self.process.poll() is None:
            root = psutil.Process(self.process.pid)
            for each in (root, *root.children(recursive=True)):
                try:
                    found = each.net_connections(kind="tcp")
                except psutil.Error:
                    continue
                if any(one.status == psutil.CONN_LISTEN and one.laddr.port == self.port for one in found):
                    return each
            time.sleep(0.2)
        raise SystemExit(f"the master did not start:\n{self.log()}")

    def log(self) -> str:
        """Return the last 3,000 characters of the master's output."""
        self._log.flush()
        return (self.folder / "master.log").read_text()[-3_000:]

    def cpu_s(self) -> float:
        """Return the CPU time of the master's process."""
        times = self.measured.cpu_times()
        return float(times.user + times.system)

    def stop(self) -> None:
        """Kill all processes of the master that still run."""
        with suppress(psutil.Error):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.Error):
                    each.kill()
        self.process.kill()
        self.process.wait()
        self._log.close()


def measure(options: argparse.Namespace, workers: int, folder: Path) -> list[Step]:
    """Return the figures of one master by rate, up to the first rate with which it does not keep up."""
    seconds = len(options.rates) * options.seconds + 2
    storage = folder / "rows" if options.stored else None
    if storage is not None:
        storage.mkdir()
    master = Master(workers, seconds, folder, options.command, options.clients, storage)
    steps: list[Step] = []
    try:
        fleet = Fleet(workers, master.port, join.for_worker(master.key_file) or sys.exit("no key"), storage)
        if not fleet.wait(lambda: fleet.timeline is not None, START_S):
            raise SystemExit(f"the run did not begin:\n{master.log()}")
        timeline = fleet.timeline
        assert timeline is not None
        fleet.turn(time.monotonic() + (timeline.measure_ns - time.time_ns()) / 1e9)
        for rate in options.rates:
            steps.append(_step(fleet, master, workers, rate, options.seconds))
            print("  " + _shown(steps[-1]), flush=True)
            if not steps[-1].whole:
                break
        else:
            fleet.turn(time.monotonic() + (timeline.drain_end_ns - time.time_ns()) / 1e9)
        if not steps[-1].whole:
            asked_ns = time.time_ns()
            os.kill(master.process.pid, signal.SIGINT)
            fleet.wait(lambda: all(each.finishing for each in fleet.workers), 20)
            fleet.seen.late["finish"] = time.time_ns() - asked_ns
        handed = fleet.wait(lambda: all(each.finished for each in fleet.workers), 40)
        told = ", ".join(f"{name} {late_ns / 1e6:,.0f} ms" for name, late_ns in fleet.seen.late.items())
        print(f"  {workers} workers: after the last claim, status, end or Ctrl-C came: {told}", flush=True)
        if not handed:
            print(f"  not all handed over:\n{master.log()}")
        elif options.complete:
            _complete(fleet, master, folder)
        for error in fleet.seen.errors[:3]:
            print(f"  a worker saw: {error}")
        fleet.close()
    finally:
        master.stop()
    return steps


def _complete(fleet: Fleet, master: Master, folder: Path) -> None:
    """Wait until the master has written the run's record from the spools; print the wall time and CPU time it took."""
    begun_s, cpu_s = time.monotonic(), master.cpu_s()
    rows = sum(sum(each._rows().values()) for each in fleet.workers)
    records = folder / "results"
    while master.process.poll() is None and time.monotonic() - begun_s < 90:
        if not list(records.glob("*/spool")) and list(records.glob("*/histograms.hlog")):
            took_s, used_s = time.monotonic() - begun_s, master.cpu_s() - cpu_s
            each_s = used_s / rows * 1e6
            print(
                f"  record of {rows:,} rows made in {took_s:.1f} s, {used_s:.1f} s of CPU ({each_s:.2f} s/M)"
            )
            return
        fleet.turn(time.monotonic() + 0.05)
    print(f"  the record was not complete in 90 s:\n{master.log()}")


def _step(fleet: Fleet, master: Master, workers: int, rate: float, seconds: float) -> Step:
    fleet.deliveries = round(rate / workers)
    fleet.histogram = fleet.recorded.histogram(fleet.deliveries)
    fleet.turn(time.monotonic() + SETTLE_S)
    began_s, began_ns, cpu_s = time.monotonic(), time.time_ns(), master.cpu_s()
    own_s, taken, waiting = time.process_time(), fleet.taken_bytes, fleet.waiting_bytes
    fleet.turn(began_s + seconds - SETTLE_S)
    span_s = time.monotonic() - began_s
    taken, came = fleet.taken_bytes - taken, fleet.taken_bytes - taken + fleet.waiting_bytes - waiting
    if fleet.waiting_bytes <= workers * SMALL_BYTES:
        taken = came
    late_ns = np.array([float(late) for at_ns, late in fleet.seen.pings if at_ns > began_ns] or [np.nan])
    deliveries = fleet.recorded.streams.get("deliveries")
    bytes_per_row = 0.0
    if deliveries is not None and deliveries.rows[-1]:
        bytes_per_row = deliveries.ends[-1] / deliveries.rows[-1]
    return Step(
        workers, rate, min(1.0, taken / came) if came else 1.0, bytes_per_row,
        (master.cpu_s() - cpu_s) / span_s, (time.process_time() - own_s) / span_s, master.measured.memory_info().rss,
        *(float(np.nanpercentile(late_ns, percent)) for percent in (50, 99, 100)),
    )  # fmt: skip


def _shown(step: Step) -> str:
    return (
        f"{step.workers:>4} workers {step.rows_per_s / 1e6:>5.1f} M rows/s  taken {step.carried:>4.0%}"
        f"  master {step.master_cpu:>4.0%} of a core, {step.rss_bytes / 1e6:>4.0f} MB"
        f"  pings read after {_ms(step.ping_p50_ns)} / {_ms(step.ping_p99_ns)} / {_ms(step.ping_max_ns)} ms"
        f"  simulated workers {step.our_cpu:>4.0%}  {step.bytes_per_row:.1f} bytes/row"
    )


def _ms(ns: float) -> str:
    return f"{ns / 1e6:>5.1f}"


def fitted(steps: list[Step]) -> tuple[float, float, float] | None:
    """Return the master's CPU time: cores at rest, cores per worker, and CPU-seconds per million rows."""
    known = [step for step in steps if step.whole]
    if len(known) < 3 or len({step.workers for step in known}) < 2:
        return None
    matrix = np.array([(1.0, step.workers, step.rows_per_s / 1e6) for step in known])
    found, *_ = np.linalg.lstsq(matrix, np.array([step.master_cpu for step in known]), rcond=None)
    base, worker, row = (float(each) for each in found)
    return base, worker, row


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--workers", type=lambda text: [int(each) for each in text.split(",")], default=[1, 10, 50, 100]
    )
    parser.add_argument(
        "--rates", type=lambda text: [float(each) for each in text.split(",")], default=list(RATES)
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each rate lasts")
    parser.add_argument("--clients", type=int, default=10, help="clients of each worker")
    parser.add_argument("--stored", action="store_true", help="workers store their rows in a folder")
    parser.add_argument("--complete", action="store_true", help="wait until the record is made")
    parser.add_argument(
        "--command", nargs="+", default=[sys.executable, "-m", "loadgen"], help="loadgen to measure"
    )
    options = parser.parse_args()
    steps: list[Step] = []
    for workers in options.workers:
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            steps += measure(options, workers, Path(folder))
    if (found := fitted(steps)) is not None:
        base, worker, row = found
        print(
            f"the master's CPU in cores: {base:.1%}, {worker:.2%} a worker, {row:.1%} for a million rows a second"
        )


if __name__ == "__main__":
    main()
