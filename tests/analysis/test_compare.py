"""Comparison: right by simulation at the stated rates, and sensible on folders, baselines and single runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.compare import profile as profiles
from analysis.compare.decide import BETTER, SAME, UNKNOWN, WORSE, compare
from analysis.compare.outputs import doubts, overall
from analysis.compare.profile import METRICS, Profile, bins, value_of
from tests.paths import REPO
from tests.system.harness import loadgen

SECONDS = 10
PER_SECOND = 200
DELAY_NS = 5_000_000.0


class World:
    """Simulated runs: 10 s of 200 deliveries a second, correlated over time; runs differ among themselves by 2 %."""

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
        blocks, pooled = [], []
        for second in range(SECONDS):
            values = level * np.exp(drift[second] + self.draws.normal(0, 0.3, PER_SECOND))
            pooled.append(values)
            numbers, counts = np.unique(bins(values.astype(np.int64)), return_counts=True)
            blocks.append({str(number): int(count) for number, count in zip(numbers, counts, strict=True)})
        whole = np.concatenate(pooled)
        figures: dict[str, float | None] = {
            metric: float(np.quantile(whole, percent / 100)) if percent else 100.0
            for metric, (_, percent, _) in METRICS.items()
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
        """Two sides, taken in turns."""
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


def test_equal_sides_are_flagged_in_at_most_5_percent() -> None:
    """A/A: any metric flagged counts; the bound holds for all of them together."""
    assert flagged(200, 6, 1.0, seed=11) <= 10


def test_a_real_shift_of_10_percent_is_found_in_at_least_90_percent() -> None:
    assert flagged(100, 6, 1.10, seed=12) >= 90


def test_an_improvement_is_better_and_a_small_change_is_the_same() -> None:
    world = World(13)
    assert verdicts(*world.sides(8, 0.8))["delivery.latency.p50"] == BETTER
    assert verdicts(*world.sides(24, 1.005))["delivery.latency.p50"] == SAME


def test_a_noisy_comparison_cannot_tell_and_says_how_many_runs_would() -> None:
    world = World(14, between=0.3)
    base, new = world.sides(3, 1.0)
    said = {each.metric: each for each in compare(base, new)}
    assert said["delivery.latency.p99"].verdict == UNKNOWN
    assert (said["delivery.latency.p99"].repeats or 0) > 50
    assert "beyond ±5%" in said["delivery.latency.p99"].reason


def test_one_run_a_side_never_decides() -> None:
    world = World(15)
    for each in compare([world.run()], [world.run(2.0)]):
        assert each.verdict == UNKNOWN
        assert "how much runs differ is not known" in each.reason
        assert each.repeats is None


def test_the_interval_covers_the_true_change_at_the_stated_rate() -> None:
    world = World(16)
    covered = 0
    for _ in range(150):
        (first, *_) = compare(*world.sides(5, 1.10), resamples=50)
        assert first.low is not None
        assert first.high is not None
        covered += first.low <= 0.10 <= first.high
    assert 136 <= covered <= 149


@pytest.mark.parametrize("value", [1, 999, 5_000_000, 10**12])
def test_a_bin_keeps_a_value_to_half_a_percent(value: int) -> None:
    (number,) = bins(np.array([value]))
    assert value_of(int(number)) == pytest.approx(value, rel=0.0026)
    assert bins(np.array([0, -5])).tolist() == [-1, -1]


def test_a_baseline_is_small_and_reads_back(tmp_path: Path) -> None:
    sample = profiles.read(REPO / "results" / "sample")
    file = tmp_path / "deep" / "comments.json"
    profiles.write(file, sample)
    assert profiles.read(file) == sample
    assert file.stat().st_size < 60_000
    (run,) = sample
    assert run.figures["delivery.latency.p50"] == 555_488


def test_what_differs_between_the_sides_is_said() -> None:
    world = World(17)
    base, new = world.sides(2, 1.0)
    changed = [Profile(**{**each.to_dict(), "scenario": {"name": "simulated", "seed": 2}}) for each in new]
    invalid = [Profile(**{**each.to_dict(), "verdict": "invalid", "loss": 0.01}) for each in changed]
    lines = "; ".join(doubts(base, invalid))
    assert "is invalid" in lines
    assert "the scenarios differ in seed" in lines
    assert "deliveries were lost" in lines
    assert overall(compare(base, changed, resamples=20)) in (SAME, UNKNOWN)


def widened(side: list[Profile], low: float, high: float) -> list[Profile]:
    """The same runs, whose latencies are known from `low` to `high` times the figure."""
    return [
        Profile(**{**each.to_dict(), "ends": {m: (v * low, v * high) for m, v in each.figures.items() if v}})
        for each in side
    ]


def test_a_difference_counts_only_beyond_what_the_figures_leave_open() -> None:
    base, new = World(21).sides(6, 1.2)
    at = {each.metric: each for each in compare(base, new, resamples=50)}["delivery.latency.p99"]
    assert at.verdict == WORSE
    # 20 % more, and each of the new runs may truly be a tenth less: 8 % are left.
    a_little = {m.metric: m for m in compare(base, widened(new, 0.9, 1.0), resamples=50)}[
        "delivery.latency.p99"
    ]
    assert a_little.verdict == WORSE
    assert a_little.change == at.change
    assert at.low is not None
    assert a_little.low is not None
    assert 1 + a_little.low == pytest.approx((1 + at.low) * 0.9)
    assert a_little.high == at.high
    # A quarter less: they may be the same, or better.
    much = {m.metric: m for m in compare(base, widened(new, 0.75, 1.0), resamples=50)}["delivery.latency.p99"]
    assert much.verdict == UNKNOWN
    assert "not known better" in much.reason
    # No spread between runs makes up for it.
    same = {m.metric: m for m in compare(base, widened(base, 0.7, 1.0), resamples=50)}["delivery.latency.p99"]
    assert same.verdict == UNKNOWN


def test_a_baseline_that_does_not_know_how_exact_it_is_says_so(tmp_path: Path) -> None:
    base, new = World(22).sides(2, 1.0)
    profiles.write(tmp_path / "old.json", base)
    content = json.loads((tmp_path / "old.json").read_text())
    for entry in content["runs"]:
        del entry["ends"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    lines = doubts(profiles.read(tmp_path / "old.json"), new)
    assert lines == [f"{len(base)} base runs do not say how exact arrivals are: taken as exact"]


def test_the_command(tmp_path: Path) -> None:
    world = World(18)
    base, new = world.sides(5, 1.3)
    profiles.write(tmp_path / "base.json", base)
    profiles.write(tmp_path / "new.json", new)
    worse = loadgen("compare", str(tmp_path / "base.json"), str(tmp_path / "new.json"))
    assert worse.code == 1, worse.said
    assert "worse" in worse.out
    assert all(len(line) <= 80 for line in worse.out.splitlines()), worse.out
    same = loadgen(
        "compare", str(tmp_path / "base.json"), str(tmp_path / "base.json"), "--json", "--min-effect", "10"
    )
    assert same.code == 0, same.said
    content: dict[str, Any] = json.loads(same.out)
    assert content["verdict"] == SAME
    single = loadgen("compare", str(REPO / "results/sample"), str(REPO / "results/sample"))
    assert single.code == 3, single.said
    assert "run each side at least twice" in " ".join(single.out.split())
    made = loadgen("baseline", str(REPO / "results/sample"), str(tmp_path / "made.json"))
    assert made.code == 0, made.said
    for bad in ("nowhere", str(REPO / "README.md")):
        assert loadgen("compare", bad, str(tmp_path / "new.json")).code == 2
