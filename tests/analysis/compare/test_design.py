"""Test how the number of runs limits a comparison: two runs a side, or one run against a baseline."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.compare import plan, profile
from analysis.compare.chances import Student
from analysis.compare.decide import BETTER, UNKNOWN, WORSE, Difference, compare, metrics_of
from analysis.compare.design import RUNS_MIN, Asked, Design, Estimate, Kind, needed
from analysis.compare.outputs import doubts, interval, reasons
from analysis.compare.profile import METRICS, OPTIONAL, Profile
from analysis.loading.run import ReadError
from tests.analysis.comparisons import World

pytestmark = pytest.mark.long
P99 = "delivery.latency.p99"


def by_metric(found: list[Difference]) -> dict[str, Difference]:
    return {each.metric: each for each in found}


@given(st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_the_kind_depends_on_the_numbers_and_on_turns(base: int, new: int, turns: bool) -> None:
    step = 2 if turns else 1
    first = [made_up(at=step * n) for n in range(base)]
    second = [made_up(at=step * n + 1 if turns else 100 + n) for n in range(new)]
    kind = Design.of(first, second).kind
    fewest, largest = sorted((base, new))
    if fewest >= RUNS_MIN:
        assert kind is (Kind.PAIRS if turns and base == new else Kind.APART)
    else:
        assert kind is (Kind.BASELINE if largest >= RUNS_MIN else Kind.FEW if fewest == 2 else Kind.SINGLE)


def made_up(at: int = 0, seconds: float | None = 60.0) -> Profile:
    return Profile(f"r{at}", {}, "valid", "complete", 0.0, at, {}, {}, [], seconds=seconds)


@pytest.mark.parametrize("between", [0.01, 0.15, 1.5])
def test_two_runs_a_side_have_no_interval_but_a_number_of_runs_and_minutes(between: float) -> None:
    base, new = World(18, between).sides(2, 1.1)
    before, after = ([replace(each, seconds=90.0) for each in side] for side in (base, new))
    found = by_metric(compare(before, after, resamples=50))
    for each in found.values():
        assert (each.verdict, each.low, each.high) == (UNKNOWN, None, None)
        assert "2 runs a side are too few for an interval" in each.reason
        assert "%" not in interval(each)
    told = found[P99]
    if told.repeats is None:
        assert "more than 1,000 runs a side" in told.advice
        assert told.minutes is None
    else:
        assert told.minutes == pytest.approx(told.repeats * 2 * 1.5)
        assert f"about {told.repeats:,} runs a side would show a change of 5 %" in told.advice
        assert "minutes altogether" in told.advice or "hours altogether" in told.advice
    untimed = by_metric(compare(base, new, resamples=50))[P99]
    assert untimed.minutes is None
    assert untimed.repeats == told.repeats


def test_runs_too_noisy_for_an_interval_have_none_however_many_metrics_agree() -> None:
    found = by_metric(compare(*World(3, between=3.0).sides(3, 1.0), resamples=50))[P99]
    assert (found.low, found.high, found.verdict) == (None, None, UNKNOWN)
    assert "3 pairs of runs are too few" in found.reason


@given(st.floats(0.001, 0.3), st.floats(0.01, 0.5), st.sampled_from([Kind.PAIRS, Kind.APART, Kind.FEW]))
def test_more_spread_or_a_smaller_change_takes_more_runs(spread: float, effect: float, kind: Kind) -> None:
    def runs(spread: float, effect: float) -> float:
        estimate = Estimate(0.0, 0.1, Student(4), spread, 0.0, 0.0)
        found, minutes, advice = needed(Design(kind, 3, 3, seconds=30), estimate, Asked(effect, 0.05, 0.01))
        assert advice
        assert (found is None) == (minutes is None)
        return math.inf if found is None else found

    assert RUNS_MIN <= runs(spread, effect) <= runs(1.5 * spread, effect)
    assert runs(spread, effect) >= runs(spread, 1.5 * effect)


def test_the_number_of_runs_finds_the_change_as_often_as_said() -> None:
    draws = np.random.default_rng(8)
    spread = 0.05
    estimate = Estimate(0.0, 0.1, Student(4), spread, 0.0, 0.0)
    runs, _, _ = needed(Design(Kind.PAIRS, 3, 3), estimate, Asked(0.05, 0.05, 0.01))
    assert runs is not None
    values = draws.normal(math.log(1.05), spread * math.sqrt(2), (4_000, runs))
    statistic = values.mean(axis=1) / values.std(axis=1, ddof=1) * math.sqrt(runs)
    share = (np.abs(statistic) >= Student(runs - 1).critical(0.01)).mean()
    assert 0.87 <= share <= 0.97


def test_uncertain_figures_are_not_cured_by_more_runs() -> None:
    estimate = Estimate(0.0, 0.1, Student(4), 0.05, -0.06, 0.06)
    runs, minutes, advice = needed(Design(Kind.PAIRS, 3, 3), estimate, Asked(0.05, 0.05, 0.01))
    assert (runs, minutes) == (None, None)
    assert "more runs do not show a change of 5 %" in advice


def test_a_single_run_is_judged_by_the_spread_of_a_baseline() -> None:
    world = World(19)
    base = [world.run() for _ in range(10)]
    for factor, verdict in ((1.3, WORSE), (0.7, BETTER)):
        assert by_metric(compare(base, [world.run(factor)], resamples=50))[P99].verdict == verdict
    # With the sides swapped, the slower run becomes the base, so the new side is better.
    assert by_metric(compare([world.run(1.3)], base, resamples=50))[P99].verdict == BETTER
    assert any("taken to vary as the 10 runs of base do" in line for line in doubts(base, [world.run()]))
    noisy = World(20, between=0.2)
    found = by_metric(compare([noisy.run() for _ in range(10)], [noisy.run(1.1)], resamples=50))[P99]
    assert found.verdict == UNKNOWN
    assert "baseline of 10" in found.advice


def test_the_prediction_interval_is_the_textbook_one() -> None:
    """The interval is mean ± t · s · √(1 + 1/n) of logarithms, as the spread within runs is smaller here."""
    from scipy import stats  # scipy takes 0.5 s to load, in every process that collects tests

    world = World(23, between=0.1)
    base, new = [world.run() for _ in range(6)], world.run(1.2)
    found = by_metric(compare(base, [new], resamples=50))[P99]
    logs = np.log([each.figures[P99] or 0 for each in base])
    shift = math.log(new.figures[P99] or 0) - logs.mean()
    reach = stats.t.ppf(0.975, 5) * logs.std(ddof=1) * math.sqrt(1 + 1 / 6)
    assert found.low == pytest.approx(math.expm1(shift - reach))
    assert found.high == pytest.approx(math.expm1(shift + reach))


def test_a_new_run_like_the_baseline_is_flagged_in_at_most_5_percent_and_covered_in_95() -> None:
    """Simulate one metric, whose verdict depends on the interval only and not on a minimum effect."""
    draws = np.random.default_rng(9)
    outside = 0
    for _ in range(2_000):
        before, after = draws.normal(0, 0.1, 8), draws.normal(0, 0.1, 1)
        variance, _, test = Design(Kind.BASELINE, 8, 1).spread(before, after)
        outside += abs(after.mean() - before.mean()) > test.critical(0.05) * math.sqrt(variance)
    assert 0.035 <= outside / 2_000 <= 0.065


def test_metrics_of_reactions_are_compared_where_every_run_has_them() -> None:
    base, new = World(24).sides(5, 1.0)
    assert set(metrics_of(base, new)) == set(METRICS) - OPTIONAL
    name = "reaction.latency.p99"

    def reacting(side: list[Profile], figure: float | None) -> list[Profile]:
        return [
            replace(each, figures={**each.figures, name: figure and figure + n})
            for n, each in enumerate(side)
        ]

    found = by_metric(compare(reacting(base, 1e6), reacting(new, 2e6), resamples=50))
    assert found[name].verdict == WORSE
    assert found[name].change == pytest.approx(1.0, rel=1e-4)
    lacking = compare(reacting(base, 1e6), reacting(new, None), resamples=50)
    assert name not in by_metric(lacking)
    assert f"not compared, since not every run has them: {name}" in doubts(reacting(base, 1e6), new)


def test_a_plan_that_may_stop_early_is_judged_as_such_and_only_in_pairs(tmp_path: Path) -> None:
    base, new = World(25).sides(6, 1.05)
    fixed, early = (by_metric(compare(base, new, resamples=50, most=most))[P99] for most in (None, 10))
    assert fixed.low is not None
    assert early.low is not None
    assert early.low < fixed.low
    broken = by_metric(compare(base[1:], new, resamples=50, most=10))[P99]
    assert (broken.verdict, broken.low) == (UNKNOWN, None)
    assert "are not in pairs" in broken.reason
    plan.write(tmp_path, 10)
    assert plan.most_of(tmp_path / "base", tmp_path / "new") == 10
    assert plan.most_of(tmp_path / "base", tmp_path / "base") is None
    assert plan.most_of(tmp_path / "base", tmp_path.parent / "new") is None
    plan.write(tmp_path, None)
    assert plan.most_of(tmp_path / "base", tmp_path / "new") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1, "most": true}', '{"format": 1, "most": 1e9}']
)
def test_a_damaged_plan_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / plan.NAME).write_text(content)
    with pytest.raises(ReadError, match="is not a plan of `loadgen ab`"):
        plan.most_of(tmp_path / "base", tmp_path / "new")


@pytest.mark.parametrize(
    ("key", "value"),
    [("seconds", "60"), ("seconds", -1), ("seconds", 1e300), ("figures", {P99: "1"}), ("created_ns", None)],
)
def test_a_baseline_with_wrong_types_is_named(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "b.json"
    profile.write(file, World(26).sides(1, 1.0)[0])
    content = json.loads(file.read_text())
    content["runs"][0][key] = value
    file.write_text(json.dumps(content))
    with pytest.raises(ReadError, match="is not a baseline file"):
        profile.read(file)


def test_metrics_with_the_same_reason_share_a_line() -> None:
    found = compare(*World(27, between=0.2).sides(2, 1.0), resamples=50)
    lines = reasons(found, None)
    assert len(lines) < len(found)
    assert sorted(", ".join(metrics for metrics, _ in lines).split(", ")) == sorted(set(METRICS) - OPTIONAL)
    assert {each.verdict for each in found} == {UNKNOWN}
