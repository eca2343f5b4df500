"""Time and memory of a full report by number of deliveries: `python benchmarks/analysis_volume.py`.

Creates runs with a given number of deliveries in two shapes (a broadcast to 500 subscribers; 1,000 rooms of 20), with
the record's own schemas and row groups. Then it makes the whole report of each in a separate process (summary, fan-out
and ledger tables, plots, gates) and prints wall time, CPU time and peak memory. The data is synthetic, but the report
is made by the real code.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from analysis.record.schemas import SCHEMAS  # noqa: E402

SECOND_NS = 1_000_000_000
T0_NS = 1_795_490_000 * SECOND_NS
GROUP_ROWS = 1_000_000
#: Least number of deliveries → most seconds and bytes that a report may take.
BARS = {100_000_000: (25, 3 * 10**9), 1_000_000_000: (360, 4 * 10**9)}
#: Name, channels, subscribers per channel.
SHAPES = (("broadcast", 1, 500), ("rooms", 1000, 20))
PUBLISHERS = 20


def make_run(
    folder: Path, deliveries: int, channels: int, readers: int, seconds: int, uncertain: float = 0.0
) -> None:
    """Write a run in which every event reached every subscriber of its channel, from two workers."""
    folder.mkdir()
    events = deliveries // readers
    number = np.arange(events, dtype=np.int64)
    start_ns, every_ns = T0_NS + 10 * SECOND_NS, seconds * SECOND_NS // events
    due_ns = start_ns + number * every_ns
    sent_ns = due_ns + 30_000
    names = pa.array([f"/default/room-{channel}" for channel in range(channels)])

    def text(codes: np.ndarray, words: pa.Array) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), words)

    def write(table: str, columns: Mapping[str, pa.Array | np.ndarray]) -> None:
        schema = SCHEMAS[table]
        rows = len(next(iter(columns.values())))
        arrays = [
            pa.array(columns[field.name], type=field.type)
            if isinstance(columns.get(field.name), np.ndarray)
            else columns.get(field.name, pa.nulls(rows, field.type))
            for field in schema
        ]
        pq.write_table(
            pa.Table.from_arrays(arrays, schema=schema), folder / f"{table}.parquet", compression="zstd"
        )

    write(
        "events",
        {
            "worker": np.zeros(events, dtype=np.int16),
            "publisher": number % PUBLISHERS,
            "sequence": number // PUBLISHERS,
            "batch": number // PUBLISHERS,
            "channel": text(number % channels, names),
            "intended_ns": due_ns,
            "slot_ns": due_ns,
            "sent_ns": sent_ns,
            "acked_ns": sent_ns + 400_000,
            "status": text(np.zeros(events), pa.array(["accepted"])),
            "bytes": np.full(events, 100),
        },
    )
    people = channels * readers
    reader = np.arange(people, dtype=np.int64)
    before_ns = np.full(people, T0_NS, dtype=np.int64) + reader * 1000
    after_ns = np.full(people, start_ns + (seconds + 5) * SECOND_NS)
    write(
        "subscriptions",
        {
            "worker": reader % 2,
            "subscription": reader,
            "connection": reader,
            "life": np.zeros(people),
            "group": text(np.zeros(people), pa.array(["readers"])),
            "channel": text(reader // readers, names),
            "requested_ns": before_ns + 300_000,
            "acknowledged_ns": before_ns + 600_000,
            "probed_ns": before_ns + 700_000,
            "ready_ns": before_ns + 900_000,
            "ended_ns": after_ns,
        },
    )
    write(
        "connections",
        {
            "worker": reader % 2,
            "connection": reader,
            "life": np.zeros(people),
            "group": text(np.zeros(people), pa.array(["readers"])),
            "started_ns": before_ns,
            "opened_ns": before_ns + 100_000,
            "acknowledged_ns": before_ns + 200_000,
            "closed_ns": after_ns,
            "close_code": np.full(people, 1000),
            "kernel_timestamps": pa.array(np.ones(people, dtype=bool)),
            "tls": pa.array(np.zeros(people, dtype=bool)),
        },
    )
    time_ns = T0_NS + np.arange(1, seconds + 12, dtype=np.int64).repeat(2) * SECOND_NS
    rows = len(time_ns)
    health: dict[str, np.ndarray] = {field.name: np.zeros(rows) for field in SCHEMAS["health"]}
    health |= {"worker": np.arange(rows) % 2, "time_ns": time_ns, "interval_ns": np.full(rows, SECOND_NS)}
    health |= {"cpu_ns": np.full(rows, SECOND_NS // 2), "rss_bytes": np.full(rows, 100_000_000)}
    write("health", health)
    write("clock", {field.name: np.zeros(0) for field in SCHEMAS["clock"]})
    _deliveries(folder, number, due_ns, sent_ns, channels, readers, uncertain)
    phases = [("ramp", 0, 10), ("measure", 10, 10 + seconds), ("drain", 10 + seconds, 15 + seconds)]
    entry = {"hostname": "h", "pid": 1, "finished": True, "boot_id": "k"}
    manifest = {
        "format": 2,
        "run": folder.name,
        "token": 1,
        "status": "complete",
        "exit_code": 0,
        "reason": None,
        "scenario": {
            "version": 1,
            "name": folder.name,
            "gates": ["delivery.latency.p99 < 150ms", "delivery.loss == 0"],
        },
        "target": {"http_url": "http://x/event", "ws_url": "ws://x/", "embedded": True, "auth": "none"},
        "versions": {"python": "3.11"},
        "host": {
            "hostname": "h",
            "cpus": 2,
            "kernel": "k",
            "platform": "linux",
            "machine": "m",
            "boot_id": "k",
        },
        "workers": [{"worker": n, "id": f"w{n}", **entry} for n in (0, 1)],
        "phases": [
            {"name": name, "start_ns": T0_NS + begin * SECOND_NS, "end_ns": T0_NS + end * SECOND_NS}
            for name, begin, end in phases
        ],
        "created_ns": T0_NS,
        "late_after_ns": 5 * SECOND_NS,
        "negative": {},
        "beyond": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _deliveries(  # type: ignore[no-untyped-def]
    folder: Path, number, due_ns, sent_ns, channels: int, readers: int, uncertain: float
) -> None:
    """Write the rows of worker 0, then those of worker 1, each roughly in the order of arrival (to a few ms)."""
    schema = SCHEMAS["deliveries"]
    random = np.random.default_rng(1)
    half = readers // 2
    turn = GROUP_ROWS // half
    with pq.ParquetWriter(folder / "deliveries.parquet", schema, compression="zstd") as writer:
        for worker in (0, 1):
            for begin in range(0, len(number), turn):
                event = np.repeat(number[begin : begin + turn], half)
                rank = np.tile(np.arange(half, dtype=np.int64) * 2 + worker, len(event) // half)
                took_ns = 300_000 + rank * 2_000 + (random.gamma(2.0, 200_000, len(event))).astype(np.int64)
                arrival_ns = sent_ns[event] + took_ns
                # As in a real record, the arrival times of one socket never decrease.
                shaped = arrival_ns.reshape(-1, half)
                if channels == 1:
                    np.maximum.accumulate(shaped, axis=0, out=shaped)
                columns = {
                    "worker": np.full(len(event), worker),
                    "subscription": event % channels * readers + rank,
                    "publisher": event % PUBLISHERS,
                    "sequence": event // PUBLISHERS,
                    "intended_ns": due_ns[event],
                    "sent_ns": sent_ns[event],
                    "arrival_ns": arrival_ns,
                    "read_ns": arrival_ns + 50_000 + random.integers(0, 200_000, len(event)),
                    "uncertain_ns": random.integers(1, 200_000, len(event))
                    * (random.random(len(event)) < uncertain),
                }
                arrays = [pa.array(columns[field.name], type=field.type) for field in schema]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def report(folder: Path) -> tuple[float, float, int, dict[str, object]]:
    """Make the report in a separate process; return (wall seconds, CPU seconds, peak bytes, summary)."""
    begin = time.perf_counter()
    with (folder / "report.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "analysis", "finish", str(folder)],
            cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
    wall_s = time.perf_counter() - begin
    if status:
        sys.exit((folder / "report.log").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    return wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, summary


def verdict(deliveries: int, wall_s: float, peak: int) -> str:
    """Return "met" or "MISSED" for a report on ``deliveries`` deliveries, or "" if no bar applies to this number."""
    bars = [bar for least, bar in BARS.items() if deliveries >= least]
    if not bars:
        return ""
    seconds, size = bars[-1]
    return "met" if wall_s <= seconds and peak <= size else "MISSED"


def main() -> int:
    """Print one line per run; return 1 if a bar is missed, else 0."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--shapes",
        nargs="+",
        choices=[name for name, _, _ in SHAPES],
        default=[name for name, _, _ in SHAPES],
    )
    parser.add_argument(
        "--deliveries", "--rows", type=int, nargs="+", default=[1_000_000, 10_000_000, 100_000_000]
    )
    parser.add_argument(
        "--uncertain", type=float, default=0.0, help="share of deliveries that share a kernel stamp"
    )
    parser.add_argument("--seconds", type=int, default=600, help="length of the measure phase")
    parser.add_argument("--folder", type=Path, help="where to put the runs; kept")
    options = parser.parse_args()
    missed = False
    print(f"{'shape':<10} {'deliveries':>12} {'file':>8} {'report':>8} {'CPU':>8} {'memory':>9}  verdict")
    with tempfile.TemporaryDirectory() as temporary:
        for name, channels, readers in (shape for shape in SHAPES if shape[0] in options.shapes):
            for deliveries in options.deliveries:
                folder = (options.folder or Path(temporary)) / f"{name}-{deliveries}"
                if not folder.exists():
                    make_run(folder, deliveries, channels, readers, options.seconds, options.uncertain)
                wall_s, cpu_s, peak, summary = report(folder)
                ledger = summary["ledger"]
                if ledger["delivered"] != deliveries or not ledger["balances"]:  # type: ignore[index]
                    sys.exit(f"{folder}: the ledger says {ledger}")
                size = (folder / "deliveries.parquet").stat().st_size
                bar = verdict(deliveries, wall_s, peak)
                missed |= bar == "MISSED"
                print(
                    f"{name:<10} {deliveries:>12,} {size / 1e9:>5.2f} GB {wall_s:>6.1f} s {cpu_s:>6.1f} s"
                    f" {peak / 1e9:>6.2f} GB  {bar}",
                    flush=True,
                )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
