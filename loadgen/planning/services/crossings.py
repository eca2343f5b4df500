"""Find where the monthly costs of two offers cross as one quantity of the load (an axis, such as the rate) grows.

Costs are steps and slopes, and may be ranges. So a crossing is an interval: below the interval one offer is surely
cheaper, above the interval the other offer is. For costs known exactly, a crossing is a point where both cost the same,
or a step where one jumps past the other. Costs are compared on a grid; two crossings of the same pair between
neighbouring points of the grid are missed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Any, Final

from loadgen.planning.services.bill import bill
from loadgen.planning.services.costing import Costing, amount
from loadgen.planning.services.limits import growing, lifetime_s, tightest
from loadgen.planning.services.load import AXES, Axis, Load
from loadgen.planning.services.span import ZERO, Span

#: The search for crossings covers loads from the given load divided by this factor to the load times this factor.
GROWTH: Final = 100
_POINTS_PER_DECADE: Final = 20
_HALVINGS: Final = 30
#: The search halves an interval up to `_HALVINGS` times. After these numbers of halvings it also tries linear
#: interpolation, which often finds the exact crossing.
_TRIED: Final = frozenset({0, 1, 2, 3, 5, 8, 12, 17, 23, 29})
_CENT: Final = Fraction(1, 100)
#: An interval narrower than this share of its lower end counts as a single point.
_NARROW: Final = Fraction(1, 10**9)


@dataclass(frozen=True, slots=True)
class Curve:
    """Monthly costs of an offer, `usd`, for each multiple (`factors`) of one quantity of its load, `axis`."""

    costing: Costing
    axis: Axis
    factors: tuple[Fraction, ...]
    usd: tuple[Span, ...]
    _known: dict[Fraction, Span] = field(default_factory=dict, repr=False, compare=False)

    def at(self, factor: Fraction) -> Span:
        """Return the monthly cost if the quantity :attr:`axis` of the load is multiplied by ``factor``."""
        if factor not in self._known:
            self._known[factor] = cost_at(self.costing, self.axis, factor)
        return self._known[factor]


@dataclass(frozen=True, slots=True)
class Crossing:
    """The interval of one quantity of the load, ``axis``, within which one offer becomes cheaper than another."""

    axis: Axis
    below: Costing
    """The offer that is certainly cheaper while the value of `axis` is less than `begin`."""
    above: Costing
    """The offer that is certainly cheaper while the value of `axis` is greater than `end`."""
    begin: Fraction
    """Value of the axis, such as a number of connections; see `loadgen.planning.services.load.Load.value`."""
    end: Fraction
    usd_below: Span
    """Monthly cost of `below` at the crossing; if the crossing is an interval, the range over both its ends."""
    usd_above: Span
    factor: Fraction
    """Factor by which the value of `axis` has grown at the middle of the interval."""
    step: bool
    """True if a cost jumps at the crossing, so that the two offers never cost the same."""
    sure: bool
    """True if both costs are known exactly and depend only on prices that are certain."""
    exceeded: tuple[str, ...]
    """Quotas that are exceeded at the crossing, as `service: quota`."""

    def to_dict(self) -> dict[str, Any]:
        """Return the crossing as JSON values."""
        return {
            "axis": self.axis,
            "cheaper_below": self.below.label,
            "cheaper_above": self.above.label,
            "from": float(self.begin),
            "to": float(self.end),
            "usd_cheaper_below": amount(self.usd_below),
            "usd_cheaper_above": amount(self.usd_above),
            "step": self.step,
            "sure": self.sure,
            "exceeded": list(self.exceeded),
        }


def grid() -> tuple[Fraction, ...]:
    """Return the factors of the load at which costs are compared, from 1/GROWTH to GROWTH, evenly on a log scale."""
    decades = len(str(GROWTH)) - 1
    points = decades * _POINTS_PER_DECADE
    return tuple(
        Fraction(10 ** (number / _POINTS_PER_DECADE)).limit_denominator(10**6)
        for number in range(-points, points + 1)
    )


def cost_at(costing: Costing, axis: Axis, factor: Fraction) -> Span:
    """Return the monthly cost of an offer if the quantity ``axis`` of its load is multiplied by ``factor``."""
    return _month(costing, costing.load.grown(axis, factor))


def _month(costing: Costing, load: Load) -> Span:
    return bill(costing.service, costing.offer_name, load.used_in_month(lifetime_s(costing.service))).usd()


def curves(costings: Sequence[Costing], axis: Axis) -> list[Curve]:
    """Return how the monthly cost of each offer grows with one quantity of the load, ``axis``.

    Return an empty list if the load's value of that quantity is zero or unknown.
    """
    if not costings or not costings[0].load.value(axis):
        return []
    factors = grid()
    loads = [costings[0].load.grown(axis, factor) for factor in factors]
    return [
        Curve(costing, axis, factors, tuple(_month(costing, load) for load in loads)) for costing in costings
    ]


def crossings(costings: Sequence[Costing]) -> list[Crossing]:
    """Return the points at which the cost curves of any two offers cross, along each axis.

    Along an axis one quantity of the load grows, such as the number of subscribers. All offers must be priced for the
    same load.
    """
    return [crossing for axis in AXES for crossing in of_curves(curves(costings, axis))]


def of_curves(found: Sequence[Curve]) -> list[Crossing]:
    """Return the crossings of all pairs of curves, which must have the same axis.

    Crossings are sorted by their `factor`: how much the load must grow until the two costs are equal.
    """
    crossed = [each for first, second in combinations(found, 2) for each in _of_pair(first, second)]
    return sorted(crossed, key=lambda each: each.factor)


def _sign(first: Span, second: Span) -> int:
    """Return -1 if the first amount is certainly smaller, 1 if the second is, and 0 if neither is certain."""
    if first.low is None or second.low is None:
        return 0
    if first.high is not None and first.high < second.low:
        return -1
    return 1 if second.high is not None and second.high < first.low else 0


def _of_pair(first: Curve, second: Curve) -> list[Crossing]:
    found = []
    last: tuple[int, int] | None = None
    for place, (one, other) in enumerate(zip(first.usd, second.usd, strict=True)):
        sign = _sign(one, other)
        if not sign:
            continue
        if last is not None and last[1] != sign:
            found.append(_crossing(first, second, last, (place, sign)))
        last = (place, sign)
    return found


def _crossing(first: Curve, second: Curve, before: tuple[int, int], after: tuple[int, int]) -> Crossing:
    factors = first.factors
    (left, sign_before), (right, _) = before, after
    below, above = (first, second) if sign_before < 0 else (second, first)
    # `begin` and `end` are factors of the load: `below` is certainly cheaper up to `begin`, `above` from `end` on.
    begin, _ = _edge(lambda factor: _lead(below, above, factor), factors[left], factors[left + 1])
    _, end = _edge(lambda factor: _lead(above, below, factor), factors[right], factors[right - 1])
    if end - begin <= begin * _NARROW:
        begin = end
    usd_below = below.at(begin).hull(below.at(end))
    usd_above = above.at(begin).hull(above.at(end))
    exact = usd_below.single and usd_above.single and begin == end
    value = below.costing.load.value(below.axis)
    assert value is not None
    middle = (begin + end) / 2
    grown = below.costing.load.grown(below.axis, middle)
    return Crossing(
        below.axis,
        below.costing,
        above.costing,
        begin * value,
        end * value,
        usd_below,
        usd_above,
        middle,
        begin == end and not (exact and abs((usd_below.low or ZERO) - (usd_above.low or ZERO)) <= _CENT),
        exact and below.costing.month.sure and above.costing.month.sure,
        tuple(each for costing in (below.costing, above.costing) for each in _exceeded(costing, grown)),
    )


def _lead(cheaper: Curve, dearer: Curve, factor: Fraction) -> Fraction | None:
    """Return the least amount by which ``cheaper`` costs less than ``dearer``.

    A negative amount means that ``dearer`` may cost less. Return None if a bound that the amount depends on is unknown.
    """
    high, low = cheaper.at(factor).high, dearer.at(factor).low
    return None if high is None or low is None else low - high


def _edge(
    lead: Callable[[Fraction], Fraction | None], inside: Fraction, outside: Fraction
) -> tuple[Fraction, Fraction]:
    """Return a narrow interval (low, high) of factors in which ``lead`` stops being positive.

    ``lead`` is positive at ``inside`` and not at ``outside``. If it is found to be exactly zero at a factor, both ends
    of the interval are this factor.
    """
    at_inside, at_outside = lead(inside), lead(outside)
    for halving in range(_HALVINGS):
        if halving in _TRIED and at_inside is not None and at_outside is not None and at_inside != at_outside:
            # Costs are linear between steps, so once no step lies between the two factors, interpolation is exact.
            root = inside + (outside - inside) * at_inside / (at_inside - at_outside)
            if min(inside, outside) <= root <= max(inside, outside) and lead(root) == 0:
                return root, root
        middle = (inside + outside) / 2
        at_middle = lead(middle)
        if at_middle is not None and at_middle > 0:
            inside, at_inside = middle, at_middle
        else:
            outside, at_outside = middle, at_middle
    return min(inside, outside), max(inside, outside)


def _exceeded(costing: Costing, load: Load) -> list[str]:
    use = tightest(growing(costing.service, costing.offer_name, load))
    return [] if use is None or (use.share or 0) <= 1 else [f"{costing.label}: {use.label}"]
