"""Compute the bill of a period from a service's lines, exactly and with ranges."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, get_args

from loadgen.planning.services.models import (
    SURE,
    BillPart,
    Capacity,
    Certainty,
    Line,
    Plan,
    PlanChoice,
    Price,
    Service,
    Term,
    exact,
)
from loadgen.planning.services.span import NOTHING, UNKNOWN, ZERO, Span, total
from loadgen.planning.services.used import Used

_ORDER: Final[tuple[Certainty, ...]] = get_args(Certainty)


@dataclass(frozen=True, slots=True)
class BillLine:
    """A line of a bill."""

    name: str
    title: str
    part: BillPart
    count: Span
    """Number of things billed, or of units or plans bought."""
    usd: Span
    lasting: bool
    """True if the line is paid for a whole month or day, however short the use."""
    certainty: Certainty
    """The worse of two certainties: that of the line's price, and that of its assumptions."""
    why: tuple[str, ...] = ()
    """Reasons why the cost is a range or rests on an assumption."""
    chosen: str | None = None
    """The plan or the number of units bought."""


@dataclass(frozen=True, slots=True)
class Bill:
    """The bill of a period."""

    lines: tuple[BillLine, ...]

    def usd(self, *parts: BillPart, lasting: bool | None = None) -> Span:
        """Return the sum of the costs of the lines that belong to ``parts``, or of all lines if no part is given.

        ``lasting`` limits the sum to lines that are `lasting` (true), or to the others (false).
        """
        return total(
            line.usd
            for line in self.lines
            if (not parts or line.part in parts) and (lasting is None or line.lasting == lasting)
        )

    def has(self, part: BillPart) -> bool:
        """Return True if a line of the bill belongs to ``part``."""
        return any(line.part == part for line in self.lines)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Titles of the lines whose cost has no upper bound."""
        return tuple(line.title for line in self.lines if line.usd.high is None)

    @property
    def certainty(self) -> Certainty:
        """The lowest certainty among the lines whose cost is unknown or above zero."""
        return worst(line.certainty for line in self.lines if line.usd.high != 0)

    @property
    def sure(self) -> bool:
        """True if the total is a single amount that rests on sure figures only."""
        return self.usd().single and self.certainty in SURE

    @property
    def why(self) -> tuple[str, ...]:
        """Reasons for ranges and assumptions in the costs, from the lines whose cost is unknown or above zero."""
        return tuple(dict.fromkeys(why for line in self.lines if line.usd.high != 0 for why in line.why))


def worst(certainties: Iterable[Certainty]) -> Certainty:
    """Return the least certain of ``certainties``, or `documented` if there are none."""
    return max(certainties, key=_ORDER.index, default="documented")


def bill(service: Service, offer: str, used: Used) -> Bill:
    """Return the bill of a period for an offer of a service."""
    lines = [(name, service.line(name)) for name in service.offers[offer].lines]
    units: Fraction | None = None
    for _, line in lines:
        if isinstance(line, Capacity):
            units = _units(line, used)
    return Bill(tuple(_bill_line(service, name, line, used, units) for name, line in lines))


def _bill_line(
    service: Service, name: str, line: Line | PlanChoice | Capacity, used: Used, units: Fraction | None
) -> BillLine:
    if isinstance(line, PlanChoice):
        return _plan_line(name, line, used)
    price = service.prices[line.price]
    # A unit is paid for at least one day.
    unit_days = None if units is None else units * max(Fraction(1), used.days)
    if isinstance(line, Capacity):
        if unit_days is None:
            why = (f"no number of units on offer holds this ({line.title})",)
            return BillLine(name, line.title, "service", UNKNOWN, UNKNOWN, True, price.certainty, why)
        count = Span.of(unit_days)
        chosen = f"{float(units or 0):g} units"
        usd = cost(price, count)
        return BillLine(name, line.title, "service", count, usd, True, price.certainty, chosen=chosen)
    return _metered(name, line, price, used, unit_days)


def _metered(name: str, line: Line, price: Price, used: Used, unit_days: Fraction | None) -> BillLine:
    readings = [_counted(line, terms, used, unit_days) for terms in (line.counts, line.or_counts) if terms]
    count, usd = readings[0], cost(price, readings[0])
    for other in readings[1:]:
        count, usd = count.hull(other), usd.hull(cost(price, other))
    why = [term.unclear for term in line.counts if term.unclear is not None]
    if line.unclear is not None:
        usd = usd.or_nothing()
        why.append(line.unclear)
    if line.why is not None and not usd.single:
        why.append(line.why)
    certainty = price.certainty
    if line.assumed is not None:
        certainty = worst((certainty, "assumed"))
        why.append(f"{line.title}: {line.assumed}")
    if usd.known and not usd.single:
        certainty = worst((certainty, "unclear"))
    if usd.low is None and count.low is not None:
        why.append(f"{line.title}: the price is unknown")
    elif count.low is None:
        why.append(f"{line.title}: the number is unknown")
    elif usd.high is None and count.high is not None:
        why.append(f"{line.title}: the price of such a volume is unknown")
    return BillLine(name, line.title, line.part, count, usd, line.lasting, certainty, tuple(why))


def _counted(line: Line, terms: Iterable[Term], used: Used, unit_days: Fraction | None) -> Span:
    count = total(_term(term, used, unit_days) for term in terms)
    if line.included is None or count.low is None:
        return count
    number = _count(line.included.quantity, None, used, unit_days)
    if number is None:
        return Span(ZERO, count.high)
    free = number * exact(line.included.each)
    return Span(max(ZERO, count.low - free), None if count.high is None else max(ZERO, count.high - free))


def _term(term: Term, used: Used, unit_days: Fraction | None) -> Span:
    unit = None if term.unit_bytes is None else exact(term.unit_bytes)
    number = _count(term.quantity, unit, used, unit_days)
    if number is None:
        return UNKNOWN
    counted = Span.of(number * exact(term.times))
    return counted if term.unclear is None else counted.or_nothing()


def _count(quantity: str, unit: Fraction | None, used: Used, unit_days: Fraction | None) -> Fraction | None:
    return unit_days if quantity == "unit_day" else used.count(quantity, unit)  # type: ignore[arg-type]


def cost(price: Price, count: Span) -> Span:
    """Return the cost of ``count`` things; the cost has no upper bound if the price of a tier is unknown."""
    if count.low is None:
        return UNKNOWN
    if count == NOTHING:
        return NOTHING
    low = _tiered(price, count.low)
    if low.low is None or count.high is None:
        return Span(low.low, None)
    return Span(low.low, _tiered(price, count.high).high)


def _tiered(price: Price, number: Fraction) -> Span:
    per = exact(price.per)
    if not price.tiers:
        return UNKNOWN if price.usd is None else Span.of(number * exact(price.usd) / per)
    sum_usd, begin = ZERO, ZERO
    for tier in price.tiers:
        end = number if tier.up_to is None else min(number, exact(tier.up_to))
        if end > begin:
            if tier.usd is None:
                return Span(sum_usd, None) if begin else UNKNOWN
            sum_usd += (end - begin) * exact(tier.usd) / per
            begin = end
    return Span.of(sum_usd)


def fitting(line: PlanChoice, used: Used) -> Plan | None:
    """Return the cheapest plan whose limits allow the usage, or None if no plan does.

    A plan that limits an unknown number does not allow the usage. A plan without a price counts as more expensive
    than every plan with one.
    """
    plans = [
        plan
        for plan in line.choices
        if all(
            (number := used.count(quantity)) is not None and number <= exact(ceiling)
            for quantity, ceiling in plan.up_to.items()
        )
    ]
    return min(plans, key=lambda plan: (plan.usd is None, plan.usd or 0.0), default=None)


def _plan_line(name: str, line: PlanChoice, used: Used) -> BillLine:
    plan = fitting(line, used)
    if plan is None:
        numbers = {quantity for each in line.choices for quantity in each.up_to}
        unknown = any(used.count(quantity) is None for quantity in numbers)
        why = (
            f"{line.title}: the load is unknown"
            if unknown
            else f"{line.title}: no listed plan is large enough"
        )
        return BillLine(name, line.title, "service", UNKNOWN, UNKNOWN, True, "unclear", (why,))
    usd = UNKNOWN if plan.usd is None else Span.of(exact(plan.usd))
    return BillLine(name, line.title, "service", Span.of(1), usd, True, plan.certainty, chosen=plan.name)


def _units(line: Capacity, used: Used) -> Fraction | None:
    """Return the smallest of ``line.steps`` that suffices for the load; None if none does or the load is unknown."""
    needed = ZERO
    for quantity, holds in line.holds.items():
        number = used.count(quantity)
        if number is None:
            return None
        needed = max(needed, number / exact(holds))
    return next((exact(step) for step in line.steps if exact(step) >= needed), None)
