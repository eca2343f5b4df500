"""Cost of a short run in addition to its phases: `python benchmarks/start.py`.

Several times runs a small version of the scenario `comments` with 3 s of timed phases (warm-up, measure, drain), and
prints medians: the overhead (wall time minus the timed phases), its parts, and CPU seconds by process. On a busy
machine CPU seconds vary less than wall time. `--checkout` names another checkout, in which the native code is built;
runs of it take turns with runs of this one. Exits with 1 if the overhead is above the bar.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from analysis.record.folders import runs_in

REPO = Path(__file__).resolve().parents[1]
#: The most seconds that a run without a report may take in addition to its timed phases.
BAR_S = 3.0
_LOOK_S = 0.02
_TIMED = ("warmup", "measure", "drain")
_SMALL = (
    "gates=[]",
    "clients.readers.count=40",
    "clients.readers.ramp=200/s",
    "clients.commenters.count=3",
    "clients.commenters.publish.rate=50/s",
    "phases.warmup=500ms",
    "phases.measure=2s",
    "phases.drain=500ms",
)
#: Roles of processes by a word in their command line, the most specific first.
_ROLES = (("loadgen.server", "server"), ("analysis", "analysis"), ("locust", "locust"))


@dataclass
class Run:
    """Times of one run in seconds: wall time, timed phases, other parts of the wall time, and CPU time by role."""

    wall_s: float = 0.0
    timed_s: float = 0.0
    stretches_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)


def _children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, path.read_text().split()):
                found += [child, *_children(child)]
    return found


def _read(pid: int) -> tuple[str, float]:
    """Return the role of a process and its CPU seconds so far; raises OSError if it has ended."""
    # A forked process has its parent's command line, and so its parent's role, until it executes another program.
    line = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    role = next((role for word, role in _ROLES if word in line), "loadgen")
    return role, sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _watch(process: subprocess.Popen[bytes]) -> tuple[dict[str, float], dict[str, float]]:
    """Wait for a run to end; return, by role, its child processes' CPU seconds and when the first of them was seen."""
    spent_s: dict[int, tuple[str, float]] = {}
    seen_s: dict[str, float] = {}
    while process.poll() is None:
        for child in _children(process.pid):
            with contextlib.suppress(OSError):
                role, spent = _read(child)
                if role != "loadgen":
                    spent_s[child] = role, max(spent, spent_s.get(child, (role, 0.0))[1])
                    seen_s.setdefault(role, time.time())
        time.sleep(_LOOK_S)
    by_role: dict[str, float] = defaultdict(float)
    for role, spent in spent_s.values():
        by_role[role] += spent
    return by_role, seen_s


def run(repo: Path, extra: Sequence[str]) -> Run:
    """Make one run and return its times."""
    with tempfile.TemporaryDirectory(prefix="loadgen-start-") as results:
        command = [sys.executable, "-m", "loadgen", "run", "comments", "--results", results, *extra]
        for item in _SMALL:
            command += ["--set", item]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began_s = time.time()
        process = subprocess.Popen(
            command,
            cwd=repo,
            env={**os.environ, "PYTHONPATH": str(repo)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        cpu_s, seen_s = _watch(process)
        ended_s = time.time()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        (made,) = runs_in(Path(results))
        phases = {each["name"]: each for each in json.loads((made / "manifest.json").read_text())["phases"]}
    total_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # The total covers loadgen and its descendants, which have all ended. Subtract the descendants to get loadgen's own.
    cpu_s["loadgen"] = total_s - sum(spent for role, spent in cpu_s.items() if role != "loadgen")
    cpu_s["all"] = total_s
    begin_s = {name: phases[name]["start_ns"] / 1e9 for name in ("ramp", "ready", "warmup")}
    drained_s = phases["drain"]["end_ns"] / 1e9
    marks = [
        ("check the request", seen_s["locust"]),
        ("start Locust", seen_s["server"]),
        ("start the server, log in", begin_s["ramp"]),
        ("ramp", begin_s["ready"]),
        ("ready", begin_s["warmup"]),
        ("timed phases", drained_s),
        ("complete the record", seen_s["analysis"]),
        ("analysis, end", ended_s),
    ]
    stretches_s, last_s = {}, began_s
    for name, at_s in marks:
        stretches_s[name], last_s = at_s - last_s, max(last_s, at_s)
    timed_s = sum(phases[name]["end_ns"] - phases[name]["start_ns"] for name in _TIMED) / 1e9
    return Run(ended_s - began_s, timed_s, stretches_s, dict(cpu_s))


def _print(name: str, runs: Sequence[Run]) -> float:
    """Print the medians of runs; return the median overhead in seconds."""
    overhead_s = median(one.wall_s - one.timed_s for one in runs)
    print(f"{name}: overhead {overhead_s:.2f} s, CPU {median(one.cpu_s['all'] for one in runs):.2f} s")
    for what in ("stretches_s", "cpu_s"):
        keys = dict.fromkeys(key for one in runs for key in getattr(one, what))
        middles = {key: median(getattr(one, what).get(key, 0.0) for one in runs) for key in keys}
        label = "wall" if what == "stretches_s" else "CPU "
        print(f"  {label}  " + ", ".join(f"{key} {value:.2f}" for key, value in middles.items()))
    return overhead_s


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5, help="of each kind (default %(default)s)")
    parser.add_argument("--report", action="store_true", help="draw the report too; no bar is held to then")
    parser.add_argument(
        "--checkout",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="run this too, repeatable",
    )
    options = parser.parse_args()
    extra = () if options.report else ("--no-report",)
    found: dict[Path, list[Run]] = {
        path: [] for path in (REPO, *(each.resolve() for each in options.checkout))
    }
    for _ in range(options.runs):
        for repo, runs in found.items():
            runs.append(run(repo, extra))
    overheads_s = [_print(str(repo), runs) for repo, runs in found.items()]
    return int(not options.report and overheads_s[0] > BAR_S)


if __name__ == "__main__":
    raise SystemExit(main())
