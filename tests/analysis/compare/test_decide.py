"""Test comparisons: error rates by simulation, and results for folders, baselines and single runs."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis.compare import profile as profiles
from analysis.compare.decide import BETTER, SAME, UNKNOWN, WORSE, compare
from analysis.compare.outputs import doubts, overall, show
from analysis.compare.profile import Profile, bins, values_of
from loadgen.cli import compare as registered
from loadgen.cli.app import app
from tests.analysis.binomial import quantile
from tests.analysis.comparisons import World, covered, flagged, verdicts
from tests.paths import REPO

pytestmark = pytest.mark.long

#: Probability that a test on a random sample fails by chance although the comparison's error rate is exactly as stated.
CHANCE = 0.001


def test_equal_sides_are_flagged_in_at_most_5_percent() -> None:
    """Compare equal sides; a comparison is flagged if any metric is, so the 5 % hold for all together."""
    assert flagged(50, 6, 1.0, seed=11) <= quantile(1 - CHANCE, 50, 0.05)


def test_a_real_shift_of_10_percent_is_found_in_at_least_90_percent() -> None:
    assert flagged(40, 6, 1.10, seed=12) >= quantile(CHANCE, 40, 0.9)


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
    assert "beyond ±5 %" in said["delivery.latency.p99"].reason


def test_one_run_a_side_never_decides() -> None:
    world = World(15)
    for each in compare([world.run()], [world.run(2.0)]):
        assert each.verdict == UNKNOWN
        assert "how much runs differ is not known" in each.reason
        assert each.repeats is None


def test_the_interval_covers_the_true_change_at_the_stated_rate() -> None:
    """Fifty trials only reveal a rate that is clearly too low; ten thousand would be needed to measure it."""
    assert covered(50, seed=16) >= quantile(CHANCE, 50, 0.95)


@pytest.mark.parametrize("value", [1, 999, 5_000_000, 10**12])
def test_a_bin_keeps_a_value_to_half_a_percent(value: int) -> None:
    (found,) = values_of(bins(np.array([value])))
    assert found == pytest.approx(value, rel=0.0026)
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
    """Return the same runs, with latencies known only to lie between `low` and `high` times the measured ones."""
    return [
        Profile(**{**each.to_dict(), "ends": {m: (v * low, v * high) for m, v in each.figures.items() if v}})
        for each in side
    ]


def test_a_difference_counts_only_beyond_what_the_figures_leave_open() -> None:
    base, new = World(21).sides(6, 1.2)
    at = {each.metric: each for each in compare(base, new, resamples=50)}["delivery.latency.p99"]
    assert at.verdict == WORSE
    # The new runs are 20 % slower, but each may truly be 10 % faster than measured. They are then 8 % slower (1.2 *
    # 0.9).
    a_little = {m.metric: m for m in compare(base, widened(new, 0.9, 1.0), resamples=50)}[
        "delivery.latency.p99"
    ]
    assert a_little.verdict == WORSE
    assert a_little.change == at.change
    assert at.low is not None
    assert a_little.low is not None
    assert 1 + a_little.low == pytest.approx((1 + at.low) * 0.9)
    assert a_little.high == at.high
    # The new runs may truly be 25 % faster than measured, so they may be as fast as the old ones, or faster.
    much = {m.metric: m for m in compare(base, widened(new, 0.75, 1.0), resamples=50)}["delivery.latency.p99"]
    assert much.verdict == UNKNOWN
    assert "not known better" in much.reason
    # Both sides have the same measured figures, but the truth may be up to 30 % lower on one side, so the verdict is
    # unknown.
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


def command(*arguments: str) -> tuple[int, str]:
    """Run `loadgen` in this process; return its exit code and its output."""
    assert registered.compare.__name__ == "compare"
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_the_command(tmp_path: Path) -> None:
    base, new = World(18).sides(5, 1.3)
    profiles.write(tmp_path / "base.json", base)
    profiles.write(tmp_path / "new.json", new)
    code, said = command("compare", str(tmp_path / "base.json"), str(tmp_path / "new.json"))
    assert code == 1, said
    assert "worse" in said
    assert all(len(line) <= 80 for line in said.splitlines()), said
    code, said = command(
        "compare", str(tmp_path / "base.json"), str(tmp_path / "base.json"), "--json", "--min-effect", "10"
    )
    assert code == 0, said
    content: dict[str, Any] = json.loads(said)
    assert content["verdict"] == SAME
    code, said = command("compare", str(REPO / "results/sample"), str(REPO / "results/sample"))
    assert code == 3, said
    assert "run each side three times or more" in " ".join(said.split())
    code, said = command("baseline", str(REPO / "results/sample"), str(tmp_path / "made.json"))
    assert code == 0, said
    for bad in ("nowhere", str(REPO / "README.md")):
        assert command("compare", bad, str(tmp_path / "new.json"))[0] == 2


@pytest.mark.parametrize(
    ("lacking", "said"),
    [
        ((0, 1, 2), "new has no such figure above zero"),
        ((1,), "new has no such figure above zero in run {second}"),
        ((0, 2), "new has no such figure above zero in run {first} and 1 more"),
    ],
)
def test_a_metric_that_runs_lack_is_named_with_them(lacking: tuple[int, ...], said: str) -> None:
    base, new = World(18).sides(3, 1.0)
    for number in lacking:
        del new[number].figures["publish.latency.p99"]
    found = {each.metric: each for each in compare(base, new)}["publish.latency.p99"]
    assert (found.verdict, found.advice) == (UNKNOWN, "more runs do not help")
    assert found.reason == said.format(first=new[0].run, second=new[1].run)
    out = io.StringIO()
    show(Console(file=out, width=200), base, new, compare(base, new))
    assert f"publish.latency.p99: {found.reason}" in out.getvalue()
    assert out.getvalue().rstrip().splitlines()[-1].startswith("can't tell in ")
    assert "publish.latency.p99" in out.getvalue().rstrip().splitlines()[-1]
