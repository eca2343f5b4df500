"""Full checks of the statistics on simulated data whose truth is known; `make test` uses samples of the same data.

`clocks`: 10,000 simulated clocks. Is the true time within the stated error, and the error as small as the pings allow?

`comparisons`: comparisons of simulated runs. If both sides are equal, at most 5 % of the comparisons may report a
change. If one side is shifted by 10 %, at least 90 % must report it. The interval must contain the true change as often
as stated.

`stopping`: simulated plans of `loadgen ab`, which compares the sides after each pair of runs and may stop then. If both
sides are equal, at most 5 % of the plans may ever report a change. A shift of 10 % must be found with fewer pairs than
are planned for finding the smallest change that matters.

Exits with 1 if one of these requirements is not met.

    python -m benchmarks.statistics_known [clocks] [comparisons] [stopping]
"""

import argparse
import math
import sys
import time

import numpy as np

from analysis.compare.decide import BETTER, WORSE
from tests.analysis import clock_coverage, sequential
from tests.analysis.comparisons import World, covered, flagged

CLOCKS = 10_000
PLANS = 20_000


def clocks() -> list[str]:
    rows = clock_coverage.table(CLOCKS)
    clock_coverage.show(rows)
    return clock_coverage.missed(rows)


def comparisons() -> list[str]:
    equal, shifted, within = (
        flagged(200, 6, 1.0, seed=11),
        flagged(100, 6, 1.10, seed=12),
        covered(150, seed=16),
    )
    print(f"equal sides flagged: {equal} of 200 (bar: 10)")
    print(f"a shift of 10 % found: {shifted} of 100 (bar: 90)")
    print(f"the 95 % interval has the true change: {within} of 150 (bar: 136 to 149)")
    said = (
        "equal sides are flagged too often",
        "a shift is found too seldom",
        "the interval is not what it says",
    )
    return [
        line
        for line, met in zip(said, (equal <= 10, shifted >= 90, 136 <= within <= 149), strict=True)
        if not met
    ]


def stopping() -> list[str]:
    bad = []
    print(f"one metric, {PLANS:,} plans of at most 20 pairs, equal sides, level 5 %:")
    # Allow three standard errors above a share of 5 %.
    bar = 0.05 + 3 * math.sqrt(0.05 * 0.95 / PLANS)
    for seed, shape in enumerate(sequential.SHAPES, start=41):
        values = sequential.differences(PLANS, 20, 0.0, seed, shape)
        early, peeked = sequential.looked(values, 0.05), sequential.peeked(values, 0.05)
        print(
            f"  {shape}: flagged at any look {early.found:.2%} (bar: {bar:.2%});"
            f" with Student's t at every look {peeked.found:.1%}"
        )
        if early.found > bar:
            bad.append(f"equal sides are flagged too often at some look ({shape})")
    # Plans are tested at a level of 1 %, which Holm's method demands of the first of five metrics.
    print(f"one of five metrics, {PLANS:,} plans for a change of 5 % with 90 % power, true change 10 %:")
    for seed, between in enumerate((0.02, 0.04, 0.08), start=51):
        unit = between * math.sqrt(2)
        most = sequential.planned(math.log(1.05) / unit, 0.01)
        values = sequential.differences(PLANS, most, math.log(1.10) / unit, seed)
        early, whole = sequential.looked(values, 0.01), sequential.fixed(values, 0.01)
        print(
            f"  runs differ by {between:.0%}: plan of {most} pairs; stops after {early.pairs:.1f} and finds"
            f" {early.found:.1%}; all pairs find {whole.found:.1%}"
        )
        if early.pairs >= most or early.found < 0.9:
            bad.append(f"a shift is not found early where runs differ by {between:.0%}")
    print("all metrics, runs that differ by 2 % among themselves, whole comparisons:")
    world = World(61)
    equal = [sequential.ab(world, 10, 1.0) for _ in range(200)]
    wrong = sum(verdict in (WORSE, BETTER) for verdict, _ in equal)
    print(f"  equal sides flagged: {wrong} of 200 (bar: 10), after {_mean(equal):.1f} of at most 10 pairs")
    shifted = [sequential.ab(world, 10, 1.10) for _ in range(200)]
    right = sum(verdict == WORSE for verdict, _ in shifted)
    print(f"  10 % more found: {right} of 200 (bar: 180), after {_mean(shifted):.1f} of at most 10 pairs")
    if wrong > 10 or right < 180 or _mean(shifted) >= 10:
        bad.append("whole comparisons that may stop are wrong too often, or stop too late")
    return bad


def _mean(plans: list[tuple[str, int]]) -> float:
    return float(np.mean([pairs for _, pairs in plans]))


def main() -> int:
    parts = {"clocks": clocks, "comparisons": comparisons, "stopping": stopping}
    parser = argparse.ArgumentParser(description="Hold statistics against truths that are known.")
    parser.add_argument("parts", nargs="*", choices=[*parts, []], help="what to run; everything if not said")
    chosen = parser.parse_args().parts or list(parts)
    bad = []
    for name in chosen:
        began = time.monotonic()
        bad += parts[name]()
        print(f"{name}: {time.monotonic() - began:.0f} s\n")
    for line in bad:
        print(f"missed: {line}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
