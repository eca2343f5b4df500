"""Check that `loadgen capacity` finds known limits, with fewer trials than bisection.

The embedded server is throttled to a known number of deliveries per second. At each of three such rates, one search has
a goal for latency and one a goal for loss. Ten readers of one channel make ten deliveries of each event, so the limit
is a tenth of the throttle's rate, in events per second. Above the limit, latency grows if the queue is unlimited, and
deliveries are lost if it is short. The table also shows the number of trials that plain bisection needs from the same
start by the same rules. By default this number is computed, assuming that a trial passes if its load is within the
known limit; with --bisection it is measured, by running `loadgen capacity --bisect`. Exits with 1 if a bound is more
than 5 % from the limit, or if a search does not take fewer trials than bisection.

    .venv/bin/python benchmarks/capacity_known.py [--only RATE/GOAL] [--bisection] [--results FOLDER]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from loadgen.capacity.search import Ask, SearchSettings, Status, Trial, Vote, next_step

READERS = 10
RATES = (600, 1000, 1800)
GOALS = {
    "latency": ("delivery.latency.p99 < 50ms", {}),
    # A queue of 20 deliveries holds two events, since each event makes ten deliveries.
    "loss": ("delivery.loss < 1%", {"throttle_queue": 20}),
}
BAR = 0.05

SCENARIO = """version: 1
description: Ten readers of one channel, for limits that are known.
clients:
  readers: {count: 10, ramp: 250/s, subscribe: /default/known}
  writers: {count: 2, publish: {channel: /default/known, rate: 50/s}}
phases: {ready: probe, warmup: 500ms, measure: 2500ms, drain: 500ms}
"""


def search(rate: int, goal: str, results: Path, bisect: bool) -> dict[str, object]:
    gate, more = GOALS[goal]
    folder = results / f"{rate}-{goal}{'-bisect' if bisect else ''}"
    folder.mkdir(parents=True)
    (folder / "known.yaml").write_text(SCENARIO)
    (folder / "faults.yaml").write_text(json.dumps({"throttle": f"{rate}/s", **more}))
    command = [sys.executable, "-m", "loadgen", "capacity", str(folder / "known.yaml"), "--slo", gate]
    command += ["--faults", str(folder / "faults.yaml"), "--from", "10", "--to", "2000", "--short", "2500ms"]
    command += ["--results", str(folder), *(["--bisect"] if bisect else [])]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / "said.log").write_text(done.stdout + done.stderr)
    (path,) = folder.glob("capacity-*/capacity.json")
    content = json.loads(path.read_text())
    limit = content["limits"][-1] if content["limits"] else {"lower": None, "upper": None, "kind": "none"}
    return {**limit, "trials": len(content["trials"]), "seconds": time.monotonic() - began}


def bisection_trials(known: float) -> int:
    """Return the number of trials that bisection takes if loads below ``known`` pass and all others fail."""
    settings = SearchSettings(low=10, high=2000, start=10, goals=1, predict=False, short=False)
    trials: list[Trial] = []
    while isinstance(step := next_step(settings, trials), Ask):
        status = Status.PASSED if step.load < known else Status.FAILED
        trials.append(Trial(step.load, step.full, (Vote(status),)))
    return len(trials)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", help="such as 600/latency; repeatable")
    parser.add_argument("--bisection", action="store_true", help="run it, too")
    parser.add_argument("--results", type=Path, default=None)
    options = parser.parse_args()
    results = options.results or Path(tempfile.mkdtemp(prefix="capacity-known-"))
    good, ours, theirs = True, 0, 0
    print(
        f"{'throttle':>9} {'goal':8} {'known':>7} {'found, events/s':>20} {'off':>7} {'trials':>7} {'bisection':>10}"
        f" {'time':>6}"
    )
    for rate in RATES:
        for goal in GOALS:
            if options.only and f"{rate}/{goal}" not in options.only:
                continue
            # With up to one percent of loss allowed, the limit is the throttle's rate divided by 0.99.
            known = rate / READERS / (0.99 if goal == "loss" else 1)
            found = search(rate, goal, results, bisect=False)
            bisection = bisection_trials(known)
            if options.bisection:
                bisection = int(str(search(rate, goal, results, bisect=True)["trials"]))
            ours, theirs = ours + int(str(found["trials"])), theirs + bisection
            off, interval = None, f"{found['kind']}"
            if isinstance(found["lower"], float) and isinstance(found["upper"], float):
                interval = f"{found['lower']:g} … {found['upper']:g}"
                off = max(abs(found["lower"] / known - 1), abs(found["upper"] / known - 1))
            right = found["kind"] == "found" and off is not None and off <= BAR
            right = right and int(str(found["trials"])) < bisection
            good &= right
            print(
                f"{rate:>7}/s {goal:8} {known:>7.1f} {interval:>20} {'–' if off is None else f'{off:.1%}':>7}"
                f" {found['trials']:>7} {bisection:>10} {found['seconds']:>5.0f}s"
                f" {'ok' if right else 'MISSED'}",
                flush=True,
            )
    print(f"{ours} trials, bisection {theirs} ({'run' if options.bisection else 'computed'}); {results}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
