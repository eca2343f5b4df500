"""Test the search on simulated noisy targets: its result and its number of trials."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.capacity.search import Ask, Limit, SearchSettings, Status, Trial, Vote, next_step, so_far

SETTINGS = SearchSettings(low=10, high=100_000, start=10, goals=1)


class Queue:
    """A server with a known rate and an unlimited queue: above the rate, latency grows and goodput stays constant."""

    def __init__(self, rate: float, noise: float = 0.0, seed: int = 1) -> None:
        self.rate, self._noise, self._draws = rate, noise, random.Random(seed)

    def run(self, ask: Ask) -> Trial:
        busy = ask.load / self.rate
        wait_ms = 1 + max(0.0, busy - 1) * (10_000 if ask.full else 2_500)
        wait_ms *= math.exp(self._draws.gauss(0, self._noise))
        hint = self.rate if busy > 1.03 else None
        status = Status.PASSED if wait_ms < 50 else Status.FAILED
        return Trial(ask.load, ask.full, (Vote(status, wait_ms, 50, hint),))


def search(target: Queue, settings: SearchSettings) -> tuple[Limit, list[Trial]]:
    trials: list[Trial] = []
    while isinstance(step := next_step(settings, trials), Ask):
        assert settings.low <= step.load <= settings.high
        trials.append(target.run(step))
        assert len(trials) < 100
    return step[-1], trials


@given(rate=st.floats(20, 50_000))
def test_the_interval_holds_the_limit_and_is_as_narrow_as_asked(rate: float) -> None:
    limit, _ = search(Queue(rate), SETTINGS)
    assert limit.kind == "found"
    assert limit.lower is not None
    assert limit.upper is not None
    true = rate * (1 + 49 / 10_000)
    assert limit.lower <= true * 1.001
    assert limit.upper >= true * 0.999
    assert limit.upper / limit.lower <= 1.0501
    assert limit.lower_votes[0] >= 2
    assert limit.upper_votes[1] >= 2


def test_it_takes_fewer_trials_than_bisection_from_the_same_bracket_with_the_same_rule() -> None:
    rates = [20 * 1.07**number for number in range(110)]
    ours = [len(search(Queue(rate), SETTINGS)[1]) for rate in rates]
    theirs = [len(search(Queue(rate), replace(SETTINGS, predict=False))[1]) for rate in rates]
    assert sum(ours) < 0.85 * sum(theirs)
    # In the worst case, our search takes two trials more than bisection: one because of a wrong prediction, one to
    # repeat a bound that rests on short trials.
    assert max(mine - other for mine, other in zip(ours, theirs, strict=True)) <= 2


@settings(deadline=None)
@given(rate=st.floats(50, 20_000), seed=st.integers(0, 1000))
def test_with_noise_the_bounds_stay_near_the_limit(rate: float, seed: int) -> None:
    limit, _ = search(Queue(rate, 0.3, seed), SETTINGS)
    assert limit.lower is not None
    assert limit.lower <= rate * 1.02
    if limit.upper is not None:
        assert limit.upper >= rate * 0.98


@pytest.mark.parametrize(
    ("rate", "kind", "lower", "upper"), [(5, "below", None, 10), (1e9, "above", 100_000, None)]
)
def test_an_open_interval_is_said_as_such(
    rate: float, kind: str, lower: float | None, upper: float | None
) -> None:
    limit, _ = search(Queue(rate), SETTINGS)
    assert (limit.kind, limit.lower, limit.upper) == (kind, lower, upper)


@given(limit=st.integers(2, 5_000))
def test_whole_numbers_end_at_neighbours(limit: int) -> None:
    settings = SearchSettings(low=1, high=10_000, start=1, goals=1, precision=0.005, whole=True)

    class Counting(Queue):
        def run(self, ask: Ask) -> Trial:
            assert ask.load == int(ask.load)
            status = Status.PASSED if ask.load <= limit else Status.FAILED
            return Trial(ask.load, ask.full, (Vote(status),))

    found, _ = search(Counting(1), settings)
    assert found.lower is not None
    assert found.upper is not None
    assert found.lower <= limit < found.upper
    assert found.upper - found.lower <= max(1, 0.0051 * found.lower)


def test_a_generator_that_is_too_weak_is_not_the_targets_limit() -> None:
    class Weak(Queue):
        def run(self, ask: Ask) -> Trial:
            if ask.load > 500:
                return Trial(ask.load, ask.full, (), "late", True)
            return super().run(ask)

    limit, _ = search(Weak(1e9), SETTINGS)
    assert limit.kind == "generator"
    assert "add workers" in limit.reason
    assert limit.upper is None
    assert limit.lower is not None
    assert 500 / 1.06 < limit.lower <= 500
    # A target's limit (200) below the generator's (500) is found.
    limit, _ = search(Weak(200), SETTINGS)
    assert limit.kind == "found"


def test_a_trial_without_a_vote_is_repeated_and_a_load_that_stays_undecided_is_no_lower_bound() -> None:
    first = next_step(SETTINGS, [])
    assert isinstance(first, Ask)
    doubtful = Trial(first.load, first.full, (), "stood still", True)
    again = next_step(SETTINGS, [doubtful])
    assert isinstance(again, Ask)
    assert again.load == first.load

    class Grey(Queue):
        def run(self, ask: Ask) -> Trial:
            if 900 < ask.load < 1_100:
                return Trial(ask.load, ask.full, (Vote(Status.INCONCLUSIVE),))
            return super().run(ask)

    limit, _ = search(Grey(1_000), SETTINGS)
    assert limit.kind == "undecided"
    assert limit.lower is not None
    assert limit.lower <= 900


def test_of_several_goals_each_has_its_limit_and_all_together_have_the_lowest() -> None:
    class Two(Queue):
        def run(self, ask: Ask) -> Trial:
            (other,) = Queue(300).run(ask).votes
            return Trial(ask.load, ask.full, (*super().run(ask).votes, other))

    trials: list[Trial] = []
    target, settings = Two(1_000), replace(SETTINGS, goals=2)
    while isinstance(step := next_step(settings, trials), Ask):
        trials.append(target.run(step))
    first, second, both = step
    assert first.lower is not None
    assert second.lower is not None
    assert 950 < first.lower < 1_010
    assert 285 < second.lower < 305
    assert (both.lower, both.upper) == (second.lower, second.upper)


@given(rate=st.floats(20, 50_000), cut=st.integers(1, 8))
def test_a_search_that_ends_early_says_what_is_known(rate: float, cut: int) -> None:
    _, trials = search(Queue(rate), SETTINGS)
    if cut >= len(trials):
        return
    (goal, together) = so_far(SETTINGS, trials[:cut], "budget")
    assert goal == together
    assert goal.kind == "unfinished"
    if goal.lower is not None:
        assert goal.lower <= rate * 1.03
