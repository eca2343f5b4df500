"""Simulate runs with a known difference, and count how many comparisons of them are right.

`python -m benchmarks.statistics_known comparisons` checks these counts with the full number of comparisons;
`compare/test_decide.py` checks them with a sample.
"""

import numpy as np

from analysis.compare.decide import BETTER, WORSE, compare
from analysis.compare.profile import METRICS, OPTIONAL, Profile, bins

SECONDS = 10
PER_SECOND = 200
DELAY_NS = 5_000_000.0
#: Greater than the number of any bin, so that (second, bin) pairs fit into one integer.
_BINS = 100_000


class World:
    """Simulates runs of 10 s with 200 deliveries a second, correlated over time; runs vary by 2 %."""

    def __init__(self, seed: int, between: float = 0.02) -> None:
        self.draws = np.random.default_rng(seed)
        self.between = between
        self.clock_ns = 0

    def run(self, factor: float = 1.0) -> Profile:
        self.clock_ns += 1
        drift = np.zeros(SECONDS)
        for second in range(1, SECONDS):
            drift[second] = 0.8 * drift[second - 1] + self.draws.normal(0, 0.01)
        level = factor * DELAY_NS * np.exp(self.draws.normal(0, self.between))
        # Draw all seconds at once, which is faster: the comparisons of a test need hundreds of runs.
        noise = self.draws.normal(0, 0.3, (SECONDS, PER_SECOND))
        values = level * np.exp(drift[:, np.newaxis] + noise)
        at = bins(values.astype(np.int64)) + np.arange(SECONDS)[:, np.newaxis] * _BINS
        numbers, counts = np.unique(at, return_counts=True)
        blocks: list[dict[str, int]] = [{} for _ in range(SECONDS)]
        for number, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            blocks[number // _BINS][str(number % _BINS)] = count
        percents = sorted({percent for _, percent, _ in METRICS.values() if percent})
        of_percent = dict(zip(percents, np.quantile(values, np.array(percents) / 100).tolist(), strict=True))
        figures: dict[str, float | None] = {
            metric: of_percent[percent] if percent else 100.0
            for metric, (_, percent, _) in METRICS.items()
            if metric not in OPTIONAL
        }
        return Profile(
            run=f"r{self.clock_ns}",
            scenario={"name": "simulated"},
            verdict="valid",
            status="complete",
            loss=0.0,
            created_ns=self.clock_ns,
            figures=figures,
            blocks=dict.fromkeys(("delivery.latency", "fanout.last", "publish.latency"), blocks),
            rates=[100.0] * SECONDS,
            ends={name: (value, value) for name, value in figures.items() if value is not None},
        )

    def sides(self, repeats: int, factor: float) -> tuple[list[Profile], list[Profile]]:
        """Return runs of both sides, made alternately; ``factor`` multiplies the new side's latencies."""
        base, new = [], []
        for _ in range(repeats):
            base.append(self.run())
            new.append(self.run(factor))
        return base, new


def verdicts(base: list[Profile], new: list[Profile]) -> dict[str, str]:
    return {each.metric: each.verdict for each in compare(base, new, resamples=100)}


def flagged(comparisons: int, repeats: int, factor: float, seed: int) -> int:
    world = World(seed)
    found = 0
    for _ in range(comparisons):
        said = set(verdicts(*world.sides(repeats, factor)).values())
        found += bool(said & ({WORSE} if factor > 1 else {WORSE, BETTER}))
    return found


def covered(comparisons: int, seed: int) -> int:
    """Return how many of the 95 % intervals contain the true change, which is 10 %."""
    world = World(seed)
    found = 0
    for _ in range(comparisons):
        (first, *_) = compare(*world.sides(5, 1.10), resamples=50)
        assert first.low is not None
        assert first.high is not None
        found += first.low <= 0.10 <= first.high
    return found
