"""CPU time that live displays (Fan-out tab, Prometheus) add to the receive path: `python benchmarks/live_cost.py`.

Two receivers run side by side, both with recording and one of them also with the displays. They receive in turns, at
the same rate. There are two figures. The first is the CPU time of the displays' own threads as a share of the
receiver's CPU time, which hardly varies. The second is the CPU time per delivery that the displays add, by comparing
the two receivers. It includes the displays' effect on the caches. The machine's speed varies, so this figure is given
with a 95 % confidence interval.

Exits with 1 if the share is above 2 %, or if the interval of the added CPU time lies wholly above 2 %.
"""

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import numpy as np  # noqa: E402
from receive import measure  # noqa: E402
from receive.measure import FAN_OUT  # noqa: E402
from receive.receive_live import COSTS  # noqa: E402
from receive.receivers import OURS, OURS_LIVE  # noqa: E402
from receive.running import Phase, not_received, running  # noqa: E402
from scipy import stats  # noqa: E402

BAR = 0.02


def _taken_s(costs: list[list[int]], phase: Phase, column: int) -> float:
    """Return the CPU seconds in a column of ``costs`` from the phase's start to one second after its end."""
    before = max((line[column] for line in costs if line[0] < phase.sent.began_ns), default=0)
    after = max((line[column] for line in costs if line[0] < phase.sent.ended_ns + 1_000_000_000), default=0)
    return (after - before) / 1e9


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=12, help="turns of each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each turn (default %(default)s)")
    parser.add_argument("--subscribers", type=int, default=500, help="default %(default)s")
    options = parser.parse_args()
    if options.rounds < 3:
        parser.error("an interval needs 3 rounds at least")
    with tempfile.TemporaryDirectory(prefix="loadgen-live-") as folder, contextlib.ExitStack() as stack:
        plain, live = (
            stack.enter_context(running(one, options.subscribers, Path(folder))) for one in (OURS, OURS_LIVE)
        )
        order = measure.paced(measure.half_busy_rate(plain, FAN_OUT), FAN_OUT, options.seconds)
        pairs: list[tuple[Phase, Phase]] = []
        for number in range(options.rounds):
            # Alternate which of the two runs first, so that neither has an advantage from its position.
            both = (plain, live) if number % 2 == 0 else (live, plain)
            phases = {one.name: one.send(order) for one in both}
            pairs.append((phases[plain.name], phases[live.name]))
        for one in (plain, live):
            one.stop()
        wrong = [lost for one in (plain, live) if (lost := not_received(one))]
        costs = [list(map(int, line.split())) for line in (live.folder / COSTS).read_text().splitlines()]
    ratios = np.log([with_.cpu_per_frame_s / without.cpu_per_frame_s for without, with_ in pairs])
    middle, error = ratios.mean(), stats.t.ppf(0.975, len(ratios) - 1) * stats.sem(ratios)
    low, ratio, high = (float(np.exp(value) - 1) for value in (middle - error, middle, middle + error))
    sent_to = [pair[1] for pair in pairs]
    spent_s = sum(phase.cpu_s for phase in sent_to)
    worker_s, own_s = (sum(_taken_s(costs, phase, column) for phase in sent_to) for column in (1, 2))
    share = own_s / spent_s
    for name, side in (("without", [pair[0] for pair in pairs]), ("with", [pair[1] for pair in pairs])):
        each_us = fmean(phase.cpu_per_frame_s for phase in side) * 1e6
        rate, busy = fmean(phase.rate for phase in side), fmean(phase.busy for phase in side)
        print(f"{name:8} {each_us:6.2f} µs of CPU a delivery at {rate:,.0f}/s, {busy:.0%} busy")
    others = max(phase.others for pair in pairs for phase in pair)
    print(
        f"{options.rounds} rounds of {options.seconds:g} s; other processes took at most {others:.0%} of a core."
    )
    per_second_ms = own_s / sum(phase.seconds for phase in sent_to) * 1e3
    print(
        f"live displays' own CPU time: {share:.2%} of the receiver's, {per_second_ms:.1f} ms each second"
        f" (bar: at most {BAR:.0%}); of it the worker's report {worker_s / spent_s:.2%}"
    )
    print(f"CPU a delivery with ÷ without: {ratio:+.2%}, 95 % interval {low:+.2%} to {high:+.2%}")
    for line in wrong:
        print(f"wrong: {line}")
    met = share <= BAR and low <= BAR and not wrong
    print("met" if met else "MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
