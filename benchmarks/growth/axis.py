"""An axis of growth: the cost for several amounts of work, and how it grows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

#: How far an exponent may be above 1 and still count as linear: results vary by about ten percent between runs.
TOLERANCE = 0.1
#: Growth counts only if it exceeds this share of the first value; less is noise.
NOISE = 0.1


@dataclass(frozen=True)
class Measure:
    """A kind of cost along an axis; ``total`` takes n and the measured value and returns the total cost at n."""

    name: str
    unit: str
    total: Callable[[float, float], float]
    #: True if the cost at the smallest n is the cost of the process alone, and is subtracted from the other costs.
    less_the_first: bool = False


@dataclass
class Axis:
    """A table with the values of the measures for each n; a missing value is None."""

    name: str
    n: str
    measures: Sequence[Measure]
    note: str
    points: list[tuple[float, list[float | None]]] = field(default_factory=list)

    def exponent(self, place: int) -> float | None:
        """Return k of total cost ~ n^k for the measure with index ``place``, or None if it is unknown."""
        measure = self.measures[place]
        known = [(n, values[place]) for n, values in self.points]
        pairs = [(n, measure.total(n, value)) for n, value in known if value is not None]
        if measure.less_the_first and pairs:
            (first_n, first), *others = pairs
            if max((value for _, value in others), default=first) < first * (1 + NOISE):
                return None
            # Leave out costs that exceed the first one by less than the noise: they do not show growth.
            pairs = [(n - first_n, value - first) for n, value in others if value > first * (1 + NOISE)]
        logs = [(math.log(n), math.log(value)) for n, value in pairs if n > 0 and value > 0]
        if len(logs) < 3:
            return None
        mean_x, mean_y = (sum(column) / len(logs) for column in zip(*logs, strict=True))
        along = sum((x - mean_x) * (y - mean_y) for x, y in logs)
        return float(along / sum((x - mean_x) ** 2 for x, _ in logs))


def each_times_n(n: float, value: float) -> float:
    return n * value


def as_it_is(_n: float, value: float) -> float:
    return value


def verdict(exponent: float | None) -> str:
    if exponent is None:
        return "does not grow measurably"
    if exponent > 1 + TOLERANCE:
        return "**worse than linear**"
    return "linear or better"


def markdown(axis: Axis) -> str:
    """Return the axis in Markdown: a table of the costs, and a verdict on the growth of each."""
    names = [f"{measure.name} ({measure.unit})" for measure in axis.measures]
    lines = [f"## {axis.name}", "", f"{axis.note}.", "", "| " + " | ".join((axis.n, *names)) + " |"]
    lines.append("|" + "---:|" * (len(names) + 1))
    for n, values in axis.points:
        cells = ["–" if value is None else f"{value:,.2f}" for value in values]
        lines.append(f"| {n:,.0f} | " + " | ".join(cells) + " |")
    lines.append("")
    for place, measure in enumerate(axis.measures):
        exponent = axis.exponent(place)
        fitted = "" if exponent is None else f"total ~ n^{exponent:.2f}, "
        lines.append(f"- {measure.name}: {fitted}{verdict(exponent)}")
    return "\n".join([*lines, ""])
