"""Choose the next load to try, and decide when the limit is known, as a pure function of the trials so far.

The terms are those of MLRsearch (IETF draft-ietf-bmwg-mlrsearch). For each goal, the relevant upper bound is the
smallest load that fails, and the relevant lower bound the largest load below it that passes. A search ends when both
bounds are proven and no further apart than the precision. A trial's result for one goal is its *vote* on the goal:
passed, failed or inconclusive. Short trials narrow the bounds; full-length trials prove each of them by a majority.

The next load between the bounds comes from an estimate of the limit: the goodput of an overloaded trial, or the figures
at both bounds. The next load is kept close enough to the middle that a search tries at most `SLACK` loads more than
bisection would, by the projection of the ITP method (Oliveira and Takahashi 2020, doi:10.1145/3423597) on a logarithmic
scale. With `predict` off the search is plain bisection, for comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Final

SLACK: Final = 1
#: Maximum number of trials with votes at one load; if they give no majority, the load is undecided.
VOTES_MAX: Final = 5
#: If the generator was too weak in this many trials at one load, the generator counts as the limit. If `OVERLOADS` + 2
#: trials at one load are unusable (neither passed nor failed, for any reason), the load is undecided.
OVERLOADS: Final = 3
#: Factors by which the load grows after a pass while no load has failed: first 2, then 4.
_GROWTH: Final = (2.0, 4.0)


class Status(Enum):
    """Result of a trial for one goal."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Vote:
    """A trial's vote on one goal: passed, failed or inconclusive.

    `value` and `threshold` are in the metric's unit; `hint` is a load near which the limit may lie, or None.
    """

    status: Status
    value: float | None = None
    threshold: float = 0.0
    hint: float | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """One run at a load, with its vote on each goal.

    `doubt` is the reason why the run has no votes, such as an overloaded generator or a broken record, else empty.
    """

    load: float
    full: bool
    votes: tuple[Vote, ...]
    doubt: str = ""
    #: True if the run has no votes because the generator was too weak.
    generator: bool = False


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Parameters of a search.

    `precision` is the widest acceptable interval as a share of its lower end; with `whole` loads are whole numbers.
    """

    low: float
    high: float
    start: float
    goals: int
    precision: float = 0.05
    #: Number of full-length trials with the same vote that prove a bound.
    proof: int = 2
    whole: bool = False
    predict: bool = True
    #: True if some trials are shorter than full length.
    short: bool = True

    def rounded(self, load: float) -> float:
        """Return the load within the search's bounds, rounded to a whole number or to four significant digits."""
        load = min(self.high, max(self.low, load))
        return float(round(load)) if self.whole else float(f"{load:.4g}")


@dataclass(frozen=True, slots=True)
class Ask:
    """The next trial to make: its load, its length (full or short), and the reason for it."""

    load: float
    full: bool
    why: str


@dataclass(frozen=True, slots=True)
class Limit:
    """The bounds that a search has found for a goal's limit; a bound is None if no trial has shown it."""

    lower: float | None
    upper: float | None
    #: Numbers of full-length trials at the lower and at the upper bound, each as (passed, failed).
    lower_votes: tuple[int, int]
    upper_votes: tuple[int, int]
    #: Outcome: found, above (the highest load passes), below (the lowest load fails), generator (the load generator
    #: is the limit), undecided or unfinished.
    kind: str
    reason: str


@dataclass(frozen=True)
class _At:
    """All trials at one load, with their votes on one goal."""

    load: float
    trials: tuple[tuple[Trial, Vote], ...]
    doubts: tuple[Trial, ...]

    def count(self, status: Status, full: bool) -> int:
        return sum(vote.status is status for trial, vote in self.trials if trial.full is full)

    @cached_property
    def votes(self) -> tuple[int, int]:
        return self.count(Status.PASSED, True), self.count(Status.FAILED, True)

    @cached_property
    def state(self) -> Status | None:
        """The majority of the votes of full-length trials or, without such votes, of short trials.

        None if as many trials passed as failed, or if no trial has a vote.
        """
        for full in (True, False):
            passed, failed = self.count(Status.PASSED, full), self.count(Status.FAILED, full)
            if passed != failed:
                return Status.PASSED if passed > failed else Status.FAILED
            if passed:
                return None
        return None

    @property
    def exhausted(self) -> bool:
        return len(self.trials) >= VOTES_MAX

    @property
    def too_much(self) -> bool:
        """True if the generator is too weak for this load."""
        return not self.trials and sum(trial.generator for trial in self.doubts) >= OVERLOADS


def next_step(settings: SearchSettings, trials: Sequence[Trial]) -> Ask | tuple[Limit, ...]:
    """Return the next trial or, once they are known, the limits: one for each goal, then one for all goals together.

    With a single goal its limit is returned twice.
    """
    steps = [_goal(settings, trials, goal) for goal in range(settings.goals)]
    steps.append(_goal(settings, trials, None) if settings.goals > 1 else steps[0])
    for step in steps:
        if isinstance(step, Ask):
            return step if settings.short else replace(step, full=True)
    return tuple(step for step in steps if isinstance(step, Limit))


def so_far(settings: SearchSettings, trials: Sequence[Trial], reason: str) -> tuple[Limit, ...]:
    """Return the limits found by a search that ends early, in the order of `next_step`; ``reason`` says why it ends."""
    goals: list[int | None] = [*range(settings.goals), None]
    limits = []
    for goal in goals:
        step = _goal(settings, trials, goal)
        limits.append(step if isinstance(step, Limit) else _limit(_seen(trials, goal), "unfinished", reason))
    return tuple(limits)


def together(votes: Sequence[Vote]) -> Vote:
    """Return a trial's vote on all goals together: failed if any failed, else inconclusive if any was, else passed."""
    for vote in votes:
        if vote.status is Status.FAILED:
            return vote
    for vote in votes:
        if vote.status is Status.INCONCLUSIVE:
            return vote
    # Of several passed votes, the one whose value is closest to its threshold best predicts where the limit is.
    return max(votes, key=lambda vote: (vote.value or 0.0) / vote.threshold if vote.threshold else 0.0)


def _seen(trials: Sequence[Trial], goal: int | None) -> list[_At]:
    """Return the loads tried so far, in ascending order, each with its trials' votes on a goal.

    If ``goal`` is None, the votes are those on all goals together.
    """
    found = []
    for load in sorted({trial.load for trial in trials}):
        here = [trial for trial in trials if trial.load == load]
        votes = tuple(
            (trial, together(trial.votes) if goal is None else trial.votes[goal])
            for trial in here
            if not trial.doubt
        )
        found.append(_At(load, votes, tuple(trial for trial in here if trial.doubt)))
    return found


def _bounds(seen: Sequence[_At]) -> tuple[_At | None, _At | None]:
    """Return the relevant lower and upper bounds.

    A load that stays undecided, or that the generator cannot make, counts as an upper bound.
    """
    upper = next((at for at in seen if _fails(at)), None)
    below = [at for at in seen if at.state is Status.PASSED and (upper is None or at.load < upper.load)]
    return (below[-1] if below else None), upper


def _fails(at: _At) -> bool:
    return at.state is Status.FAILED or at.too_much or (at.state is None and at.exhausted)


def _goal(settings: SearchSettings, trials: Sequence[Trial], goal: int | None) -> Ask | Limit:
    """Return the next trial or the limit of one goal, or of all goals together if ``goal`` is None."""
    seen = _seen(trials, goal)
    lower, upper = _bounds(seen)
    for at in seen:
        # The search needs a clear result for every load below the upper bound, but for none above it.
        if at.state is None and not _fails(at) and (upper is None or at.load < upper.load):
            if len(at.doubts) >= OVERLOADS + 2:
                return _limit(seen, "undecided", at.doubts[-1].doubt)
            return Ask(at.load, _was_full(at), "repeated: no clear answer yet")
    if lower is None and upper is None:
        return Ask(settings.rounded(settings.start), False, "first")
    if upper is None:
        assert lower is not None
        if lower.load >= settings.high:
            return _proof(settings, lower) or _limit(seen, "above", "the highest load that was tried passes")
        passes = sum(at.state is Status.PASSED for at in seen)
        return Ask(settings.rounded(lower.load * _GROWTH[min(passes, len(_GROWTH)) - 1]), False, "upwards")
    if lower is None:
        if upper.load <= settings.low:
            if upper.too_much:
                return _limit(seen, "generator", "the generator cannot make even the lowest load")
            return _proof(settings, upper) or _limit(seen, "below", "the lowest load that was tried fails")
        hint = _hint(upper) if settings.predict else None
        return Ask(settings.rounded(_downwards(settings, upper.load, hint)), False, "downwards")
    if not _close(settings, lower.load, upper.load):
        near = upper.load / lower.load <= (1 + settings.precision) ** 4
        load = _within(settings, lower, upper, _brackets(trials, goal))
        return Ask(load, near or settings.predict, "between the bounds")
    # The generator's limit needs no proof: `OVERLOADS` trials have shown it.
    for at in (lower,) if upper.too_much else (upper, lower):
        if (ask := _proof(settings, at)) is not None:
            return ask
    if upper.too_much:
        return _limit(seen, "generator", "the generator is the limit: add workers (--processes) or a machine")
    if upper.state is None:
        return _limit(seen, "undecided", "at the upper bound the measurement could not tell")
    if min(max(lower.votes), max(upper.votes)) < settings.proof:
        return _limit(seen, "undecided", "a bound could not be proven: too many trials there had no vote")
    return _limit(seen, "found", "")


def _was_full(at: _At) -> bool:
    return any(trial.full for trial in (*(trial for trial, _ in at.trials), *at.doubts))


def _proof(settings: SearchSettings, at: _At) -> Ask | None:
    """Return another full-length trial at a bound, or None if the bound is proven or its trials are used up."""
    if at.exhausted or max(at.votes) >= settings.proof:
        return None
    if len(at.doubts) >= OVERLOADS + 2:
        return None
    return Ask(at.load, True, "to prove the bound")


def _limit(seen: list[_At], kind: str, reason: str) -> Limit:
    lower, upper = _bounds(seen)
    return Limit(
        lower.load if lower else None,
        # If the generator was too weak for this load, the load says nothing about the target and is no bound.
        upper.load if upper and not upper.too_much else None,
        lower.votes if lower else (0, 0),
        upper.votes if upper else (0, 0),
        kind,
        reason,
    )


def _close(settings: SearchSettings, lower: float, upper: float) -> bool:
    # The factor 1 + 1e-9 allows for floating-point error.
    return upper <= lower * (1 + settings.precision) * (1 + 1e-9) or (settings.whole and upper - lower <= 1)


def _downwards(settings: SearchSettings, upper: float, hint: float | None) -> float:
    """Return a load below the failed load ``upper``: just under ``hint`` if it is in range, else half of ``upper``."""
    if hint is not None and settings.low < hint < upper:
        return hint * (1 - settings.precision / 2)
    return upper / 2


def _hint(at: _At) -> float | None:
    """Return the median of the limits that the trials at a load suggest, or None if they suggest none."""
    hints = sorted(vote.hint for _, vote in at.trials if vote.hint is not None)
    return hints[len(hints) // 2] if hints else None


def _within(
    settings: SearchSettings, lower: _At, upper: _At, brackets: Sequence[tuple[float, float]]
) -> float:
    """Return the next load to try, strictly between two bounds."""
    low, high = math.log(lower.load), math.log(upper.load)
    middle = (low + high) / 2
    wanted = middle
    if settings.predict and (estimate := _estimate(lower, upper)) is not None:
        # Try a load just below the estimate, or just above it if the lower bound is already close to it. Two such
        # trials enclose the estimate in an interval no wider than the precision.
        half = 0.45 * math.log1p(settings.precision)
        at = min(max(math.log(estimate), low), high)
        wanted = at - half if at - low > high - at or at - half > low + half else at + half
        if at - low <= 2 * half:
            wanted = at + half
        wanted = _projected(settings, wanted, brackets)
    load = settings.rounded(math.exp(wanted))
    if not lower.load < load < upper.load:
        load = settings.rounded(math.exp(middle))
    if not lower.load < load < upper.load:
        load = lower.load + 1 if settings.whole else math.exp(middle)
    return load


def _projected(settings: SearchSettings, wanted: float, brackets: Sequence[tuple[float, float]]) -> float:
    """Move ``wanted`` so close to the bounds' middle that the search takes at most `SLACK` steps more than bisection.

    All values are logarithms of loads. ITP: bisection narrows a bracket of width w0 to the tolerance t in n =
    ⌈log2(w0/t)⌉ steps; after j steps, with a bracket of width w, the point may lie up to t/2·2^(n+SLACK−j) − w/2 from
    the middle.
    """
    low, high = (math.log(load) for load in brackets[-1])
    first = math.log(brackets[0][1] / brackets[0][0])
    tolerance = math.log1p(settings.precision)
    steps = math.ceil(math.log2(first / tolerance)) + SLACK - (len(brackets) - 1)
    radius = max(0.0, tolerance / 2 * 2.0**steps - (high - low) / 2)
    middle = (low + high) / 2
    return min(max(wanted, middle - radius), middle + radius)


def _brackets(trials: Sequence[Trial], goal: int | None) -> list[tuple[float, float]]:
    """Return the search's successive (lower, upper) bounds, without repeats, once both are known."""
    found: list[tuple[float, float]] = []
    for number in range(len(trials)):
        lower, upper = _bounds(_seen(trials[: number + 1], goal))
        if lower is None or upper is None:
            continue
        bracket = (lower.load, upper.load)
        if not found or bracket != found[-1]:
            found.append(bracket)
    return found


def _estimate(lower: _At, upper: _At) -> float | None:
    """Estimate the limit between two bounds, or return None if the trials give no estimate.

    The estimate is the upper bound's hint, which comes from goodput; else the load at which the goal's figure is
    expected to meet its threshold.
    """
    hint = _hint(upper)
    if hint is not None and lower.load < hint < upper.load:
        return hint
    good, bad = _figure(lower), _figure(upper)
    if good is None or bad is None or not 0 < good[0] < good[1] < bad[0]:
        return None
    # Waiting time grows as load/(capacity − load), so its inverse is close to linear (M/M/1, M/D/1).
    share = (1 / good[0] - 1 / good[1]) / (1 / good[0] - 1 / bad[0])
    return lower.load + share * (upper.load - lower.load)


def _figure(at: _At) -> tuple[float, float] | None:
    """Return the median (value, threshold) of a load's trials, or None if no trial has a value."""
    known = sorted((vote.value, vote.threshold) for _, vote in at.trials if vote.value is not None)
    return known[len(known) // 2] if known else None
