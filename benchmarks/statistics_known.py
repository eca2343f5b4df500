"""Full checks of the statistics on simulated data whose truth is known; `make test` uses samples of the same data.

`clocks`: 10,000 simulated clocks. Is the true time within the stated error, and the error as small as the pings allow?
`comparisons`: simulated runs. Equal sides may be flagged in at most 5 %, a shift of 10 % must be found in at least
90 %, and the interval must contain the true change as often as stated. Exits with 1 if a bar is missed.

    python -m benchmarks.statistics_known [clocks] [comparisons]
"""

import argparse
import sys
import time

from tests.analysis import clock_coverage
from tests.analysis.comparisons import covered, flagged

CLOCKS = 10_000


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


def main() -> int:
    parts = {"clocks": clocks, "comparisons": comparisons}
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
