"""Measure how much CPU time and memory a worker process needs on this machine, and keep the figures.

Four short runs of the whole program use the embedded server on loopback: a broadcast to few subscribers, a broadcast to
many, publishing over HTTP, and publishing over WebSocket. The figures come from each run's record. A kept calibration
is valid only for the machine and the version of the program that it was measured with.
"""

import json
import math
import os
import platform
import re
import socket
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from analysis.record import files
from analysis.record.folders import runs_in
from loadgen import native, subprocesses
from loadgen.measure.surroundings import allowed_here
from loadgen.version import VERSION

FORMAT = 2
_SETTLE_NS = 1_000_000_000
_RUN_TIMEOUT_S = 120
_PHASES = {"ready": "probe", "warmup": "1s", "measure": "5s", "drain": "500ms"}
FEW, MANY = 100, 1_000


class CalibrationError(RuntimeError):
    """The machine could not be measured; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Costs of one worker process on this machine, measured over plain TCP with one subscription per connection."""

    measured_at: str
    """ISO 8601, UTC."""
    machine: Mapping[str, Any]
    """Host, CPUs, architecture, Python, version and receive path with which the costs were measured; see
    `this_machine`."""
    cpu_s_per_delivery: float
    cpu_s_per_http_publish: float
    cpu_s_per_websocket_publish: float
    idle_cpu_share: float
    """CPU time per second of an idle worker."""
    base_rss_bytes: float
    rss_bytes_per_subscriber: float
    deliveries_per_s: float
    """Rate at which `cpu_s_per_delivery` was measured. A delivery costs less the more arrive at once."""
    cpu_s_per_connect: float
    """CPU time per connect, including login, subscribing and the readiness probe."""
    connects_per_s: float
    """Rate at which `cpu_s_per_connect` was measured."""
    record_bytes_per_delivery: float
    """Bytes per delivery that a worker writes to its spool, and sends to a master on another machine."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Figures of the single worker in a calibration run. They cover the measure phase unless stated otherwise."""

    seconds: float
    cpu_s: float
    deliveries: int
    published: int
    rss_bytes: int
    ramp_cpu_s: float = 0.0
    """CPU time from the first connect until all subscriptions were ready."""
    ramp_s: float = 0.0
    spool_bytes: int = 0
    """Size of the spool of the whole run."""
    recorded: int = 0
    """Deliveries of the whole run."""


def this_machine() -> dict[str, Any]:
    """Return the properties of machine and program on which a calibration depends."""
    return {
        "hostname": socket.gethostname(),
        "cpus": allowed_here().cores,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "loadgen": VERSION,
        "receive path": "native" if native.available else "python",
    }


def cache_file() -> Path:
    """Return the path of this machine's calibration; it contains the host name since home folders may be shared."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
    return folder / "loadgen" / f"calibration-{host}.json"


def load_calibration(path: Path | None = None) -> tuple[Calibration | None, str]:
    """Return the saved calibration and an empty string, or None and the reason why it cannot be used."""
    path = path or cache_file()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            return None, "the kept calibration is of another format"
        kept = Calibration(**content)
        if not all(
            isinstance(value, int | float) and math.isfinite(value)
            for name, value in asdict(kept).items()
            if name not in ("measured_at", "machine")
        ):
            raise ValueError
    except FileNotFoundError:
        return None, "this machine has not been measured"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None, f"the kept calibration {path} cannot be read"
    here = this_machine()
    changed = [name for name, value in here.items() if kept.machine.get(name) != value]
    if changed:
        return None, f"the kept calibration is of another {', '.join(changed)}"
    return kept, ""


def save(calibration: Calibration, path: Path | None = None) -> Path:
    """Write a calibration to ``path``, or to `cache_file`, and return the path.

    Raises:
        OSError: the file cannot be written.
    """
    path = path or cache_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1) + "\n")
    return path


def measure(say: Callable[[str], None]) -> Calibration:
    """Make the four runs and return their figures; takes about a minute.

    ``say`` is called with a line such as `1/4 few subscribers` before each run.

    Raises:
        CalibrationError: a run failed, or the figures make no sense.
    """
    seen = {}
    with tempfile.TemporaryDirectory(prefix="loadgen-plan-") as folder:
        for number, (name, scenario) in enumerate(_scenarios().items(), start=1):
            say(f"{number}/4 {name}")
            seen[name] = _run(Path(folder) / str(number), scenario)
    return calibrated(seen)


def calibrated(seen: Mapping[str, Seen]) -> Calibration:
    """Compute a calibration from the figures of the four calibration runs, by the runs' names.

    The costs per delivery, connect and subscriber follow from the differences between few and many subscribers.

    Raises:
        CalibrationError: more work took no more CPU time, so other programs kept the machine too busy.
    """
    few, many = seen["few subscribers"], seen["many subscribers"]
    more = many.deliveries / many.seconds - few.deliveries / few.seconds
    cpu_more = many.cpu_s / many.seconds - few.cpu_s / few.seconds
    each_s = cpu_more / more if more > 0 else 0.0
    idle = max(0.0, few.cpu_s / few.seconds - each_s * few.deliveries / few.seconds)
    publishes = {}
    for name in ("publishes by HTTP", "publishes over WebSocket"):
        run = seen[name]
        publishes[name] = (run.cpu_s - idle * run.seconds) / run.published if run.published else 0.0
    if not (each_s > 0 and all(value > 0 for value in publishes.values())):
        raise CalibrationError(
            "more work took no more CPU time, so the machine was too busy to be measured: run it again when nothing"
            " else runs"
        )
    connect_s = (many.ramp_cpu_s - few.ramp_cpu_s) / (MANY - FEW)
    written = (many.spool_bytes - few.spool_bytes) / max(1, many.recorded - few.recorded)
    rss_each = max(0.0, (many.rss_bytes - few.rss_bytes) / (MANY - FEW))
    return Calibration(
        measured_at=datetime.now(tz=UTC).isoformat(timespec="seconds"),
        machine=this_machine(),
        cpu_s_per_delivery=each_s,
        cpu_s_per_http_publish=publishes["publishes by HTTP"],
        cpu_s_per_websocket_publish=publishes["publishes over WebSocket"],
        idle_cpu_share=idle,
        base_rss_bytes=few.rss_bytes - FEW * rss_each,
        rss_bytes_per_subscriber=rss_each,
        deliveries_per_s=many.deliveries / many.seconds,
        # `connect_s` is a difference of two ramps' CPU times. It may be negative, since a ramp lasts only seconds and
        # includes other work.
        cpu_s_per_connect=max(0.0, connect_s),
        connects_per_s=MANY / many.ramp_s if many.ramp_s else 0.0,
        record_bytes_per_delivery=max(0.0, written),
    )


def _scenarios() -> dict[str, dict[str, Any]]:
    def scenario(**clients: Any) -> dict[str, Any]:
        return {"version": 1, "name": "calibration", "clients": clients, "phases": _PHASES}

    def audience(count: int) -> dict[str, Any]:
        return {"count": count, "ramp": "500/s", "subscribe": "/default/all"}

    def sender(channel: str, via: str, count: int, rate: str) -> dict[str, Any]:
        return {"count": count, "publish": {"channel": channel, "rate": rate, "via": via}}

    return {
        "few subscribers": scenario(a=audience(FEW), s=sender("/default/all", "http", 1, "10/s")),
        "many subscribers": scenario(a=audience(MANY), s=sender("/default/all", "http", 1, "10/s")),
        "publishes by HTTP": scenario(a=audience(1), s=sender("/default/none", "http", 10, "1000/s")),
        "publishes over WebSocket": scenario(
            a=audience(1), s=sender("/default/none", "websocket", 50, "1000/s")
        ),
    }


def _run(folder: Path, scenario: Mapping[str, Any]) -> Seen:
    folder.mkdir()
    # JSON is valid YAML.
    (folder / "calibration.yaml").write_text(json.dumps(scenario))
    try:
        done = subprocess.run(  # noqa: S603
            subprocesses.command(
                "loadgen", "run", str(folder / "calibration.yaml"), "--results", str(folder / "results")
            ),
            env=subprocesses.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_RUN_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CalibrationError(f"a run of {scenario['name']} did not end in {_RUN_TIMEOUT_S} s") from None
    found = runs_in(folder / "results", "summary.json")
    if not found:
        said = done.stderr.strip().splitlines()
        raise CalibrationError(
            f"a run of it ended with exit code {done.returncode}: {said[-1] if said else 'it said nothing'}"
        )
    return seen_in(found[0])


def seen_in(record: Path) -> Seen:
    """Return the figures of a run's single worker, leaving out the first second of the measure phase.

    Raises:
        CalibrationError: the record has no sample of the measure phase.
    """
    # Imported here so that reading a saved calibration does not load Arrow.
    import pyarrow.parquet as pq

    manifest = json.loads((record / "manifest.json").read_text(encoding="utf-8"))
    (phase,) = [phase for phase in manifest["phases"] if phase["name"] == "measure"]
    names = ("time_ns", "interval_ns", "cpu_ns", "deliveries", "published", "rss_bytes")
    table = pq.read_table(record / "health.parquet", columns=list(names))
    time_ns, interval_ns, cpu_ns, deliveries, published, rss_bytes = (
        table.column(name).to_numpy() for name in names
    )
    inside = (time_ns > phase["start_ns"] + _SETTLE_NS) & (time_ns <= phase["end_ns"])
    if not inside.any():
        raise CalibrationError("a run's record has nothing of its measure phase")
    phases = {phase["name"]: phase for phase in manifest["phases"]}
    ramp_ns = (phases["ramp"]["start_ns"], phases["ready"]["end_ns"])
    ramping = (time_ns > ramp_ns[0]) & (time_ns - interval_ns < ramp_ns[1])
    (worker,) = manifest["workers"]
    return Seen(
        seconds=float(interval_ns[inside].sum()) / 1e9,
        cpu_s=float(cpu_ns[inside].sum()) / 1e9,
        deliveries=int(deliveries[inside].sum()),
        published=int(published[inside].sum()),
        rss_bytes=int(rss_bytes[inside].max()),
        ramp_cpu_s=float(cpu_ns[ramping].sum()) / 1e9,
        ramp_s=(ramp_ns[1] - ramp_ns[0]) / 1e9,
        spool_bytes=worker["spool_bytes"],
        recorded=worker["deliveries"],
    )
