"""Show the costs of a load at several services as tables in a terminal, as Markdown or as JSON values."""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import pricing, text
from analysis.console import indented, note, sentence
from loadgen.planning.services.costing import Costing
from loadgen.planning.services.crossings import GROWTH, Crossing
from loadgen.planning.services.fitting import fitted
from loadgen.planning.services.limits import Use
from loadgen.planning.services.load import AXES, Axis, Load
from loadgen.planning.services.span import Span

FORMAT: Final = 1
UNKNOWN: Final = "unknown"
_COSTS: Final = ("service", "a run", "an hour", "a month", "its own part", "backend", "data out", "certainty")
_QUOTAS: Final = ("service", "binds first", "asked", "quota", "share", "source", "connecting all takes")
_ROOM: Final = ("until a quota binds", *(f"{axis} ×" for axis in AXES))
#: Other words for some of the certainties of costs; those not listed are shown as they are.
_CERTAINTIES: Final = {"weak": "weak source", "assumed": "assumes"}
_CROSSINGS: Final = ("as this grows", "at", "cheaper below", "cheaper above", "a month there", "remark")
_UNITS: Final[dict[Axis, str]] = {
    "subscribers": "{} connections",
    "rate": "{} events/s",
    "payload": "{} bytes",
    "fan-out": "{} deliveries an event",
}
#: Maximum number of crossings shown in a table for one axis: those nearest to the load. JSON output has all.
SHOWN: Final = 8

Row = tuple[str, ...]


def to_dict(load: Load, costings: Sequence[Costing], found: Sequence[Crossing]) -> dict[str, Any]:
    """Return the load, the services' costs and the points where two costs cross, as JSON values; null means unknown."""
    return {
        "format": FORMAT,
        "load": {
            "name": load.name,
            **{name: None if value is None else float(value) for name, value in load.numbers().items()},
        },
        "services": [costing.to_dict() for costing in costings],
        "crossings": [crossing.to_dict() for crossing in found],
    }


def print_services(
    load: Load, costings: Sequence[Costing], found: Sequence[Crossing], console: Console
) -> None:
    """Print the costs, quotas and crossings as tables."""
    sentence(console, Text(text.clean(load.name), "bold"))
    for line in heading(load):
        indented(console, line)
    console.print()
    for columns, rows in tables(costings, found):
        if not rows:
            continue
        # A table that is too wide is printed in parts. Each part repeats the columns that identify a row: the first two
        # in the table of crossings, where two costs are equal.
        keys = 2 if columns == _CROSSINGS else 1
        for part in fitted(columns, rows, console.width, _NAMES, keys):
            table = Table(box=None, pad_edge=False, header_style="bold")
            for column, title in zip(part.columns, part.titles, strict=True):
                table.add_column(title, justify="left" if column in _LEFT else "right", overflow="fold")
            for row in part.rows:
                table.add_row(*(Text(cell) for cell in row))
            console.print(table)
            console.print()
    for line in remarks(costings, found):
        note(console, Text(line, "dim"))


#: Titles of the columns that hold names of services or of their offers.
_NAMES: Final = frozenset({"service", "until a quota binds", "cheaper below", "cheaper above"})
_LEFT: Final = frozenset(
    {
        "service", "certainty", "source", "binds first", "as this grows", "cheaper below", "cheaper above", "remark",
        *_ROOM,
    }
)  # fmt: skip


def markdown(load: Load, costings: Sequence[Costing], found: Sequence[Crossing]) -> str:
    """Return the costs, quotas and crossings as Markdown."""
    from analysis.report.outputs import escaped

    lines = [f"### {escaped(load.name)}", "", *(f"- {escaped(line)}" for line in heading(load)), ""]
    for columns, rows in tables(costings, found):
        if not rows:
            continue
        lines.append("| " + " | ".join(map(escaped, columns)) + " |")
        lines.append("|" + "|".join("---" if column in _LEFT else "---:" for column in columns) + "|")
        lines += ["| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows]
        lines.append("")
    lines += [f"- {escaped(line)}" for line in remarks(costings, found)]
    return "\n".join(lines) + "\n"


def heading(load: Load) -> Iterator[str]:
    """Yield the load and the month in sentences."""
    numbers = load.numbers()

    def said(name: str, things: str = "") -> str:
        shown = number(numbers[name])
        return f"{shown} {things.removesuffix('s') if shown == '1' else things}".strip()

    if load.known:
        yield (
            f"{said('connections', 'connections')}, {said('subscriptions', 'subscriptions')},"
            f" {said('channels', 'channels')}; {said('events_per_s')} events/s of {said('event_bytes', 'bytes')}, each"
            f" to {said('fan_out', 'subscribers')}"
        )
    else:
        yield "clients run tasks of users: their code decides what they send and receive, so costs are unknown"
    yield (
        f"a month: {said('days', 'days')} of {said('hours_per_day')} h, a client connects {said('connects_per_day')} ×"
        f" a day, or more often where the service ends connections; {said('users', 'different users')}"
    )


def tables(
    costings: Sequence[Costing], found: Sequence[Crossing]
) -> Iterator[tuple[Sequence[str], list[Row]]]:
    """Yield (columns, rows) of each table."""
    yield _without_empty(_COSTS, [_cost_row(costing) for costing in costings])
    yield _QUOTAS, _merged(costings, _quota_row)
    yield _ROOM, _merged(costings, lambda costing: tuple(_room(costing, axis) for axis in AXES))
    yield _CROSSINGS, [_crossing_row(each) for axis in AXES for each in _nearest(found, axis)]


def _without_empty(columns: Sequence[str], rows: list[Row]) -> tuple[Sequence[str], list[Row]]:
    """Return a table without the columns in which every cell is empty."""
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return [columns[place] for place in kept], [tuple(row[place] for place in kept) for row in rows]


def _cost_row(costing: Costing) -> Row:
    month = costing.month
    if not month.usd().known:
        certainty = f"not known: {', '.join(month.unknown)}"
    elif month.usd().single:
        certainty = "sure" if month.sure else _CERTAINTIES.get(month.certainty, month.certainty)
    else:
        certainty = "range"
    return (
        costing.label,
        _run(costing),
        usd(costing.hour_usd),
        usd(month.usd()),
        usd(month.usd("service")),
        usd(month.usd("backend")) if month.has("backend") else "",
        usd(month.usd("data-out")) if month.has("data-out") else "",
        certainty,
    )


def _run(costing: Costing) -> str:
    if costing.run is None:
        return ""
    metered, lasting = costing.run.usd(lasting=False), costing.run.usd(lasting=True)
    if not any(line.lasting and line.usd.high != 0 for line in costing.run.lines):
        return usd(metered)
    by_day = any(line.name in costing.service.capacities for line in costing.run.lines)
    return f"{usd(metered)} + {usd(lasting)} a {'day' if by_day else 'month'}"


def _merged(costings: Sequence[Costing], of: Callable[[Costing], Row]) -> list[Row]:
    """Return a row per offer, or one per service if the rows of all its offers are equal."""
    rows: dict[str, dict[str, Row]] = {}
    for costing in costings:
        rows.setdefault(costing.service.service, {})[costing.label] = of(costing)
    found: list[Row] = []
    for name, by_label in rows.items():
        if len(set(by_label.values())) == 1:
            found.append((name, *next(iter(by_label.values()))))
        else:
            found += [(label, *row) for label, row in by_label.items()]
    return found


def _quota_row(costing: Costing) -> Row:
    use = costing.binds
    takes = [each for each in costing.uses if each.takes_s is not None]
    taking = ", ".join(
        f"{each.label.removeprefix('new ')} {_seconds(each)}" for each in takes if each.takes_s
    )
    if use is None:
        return ("no quota known", "", "", "", "", taking)
    return (
        use.label,
        ("≥ " if use.at_least else "") + quantity(use.asked, use.unit),
        _quota(use),
        ("≥ " if use.at_least else "") + text.ratio(None if use.share is None else float(use.share)),
        use.certainty,
        taking,
    )


def _quota(use: Use) -> str:
    least = quantity(use.least, use.unit)
    return least if use.least == use.most else f"{least} – {quantity(use.most, use.unit)}"


def _seconds(use: Use) -> str:
    if use.takes_s is None:
        return UNKNOWN
    most = use.takes_s
    least = most if use.most is None or use.least is None else most * use.least / use.most
    shown = f"{text.significant(float(most))} s"
    return f"≥ {shown}" if least == most else f"≥ {text.significant(float(least))} – {shown}"


def _room(costing: Costing, axis: Axis) -> str:
    found = next(each for each in costing.headrooms if each.axis == axis)
    if found.factor is None or found.use is None:
        return "–"
    if found.factor < 1e-5:
        return f"over: {found.use.label}"
    return f"{text.significant(found.factor)}: {found.use.label}"


def _crossing_row(crossing: Crossing) -> Row:
    remark = []
    if crossing.step:
        remark.append("a price step")
    if not crossing.sure:
        remark.append("uncertain")
    if crossing.exceeded:
        remark.append(f"beyond a quota ({'; '.join(crossing.exceeded)})")
    begin, end = number(crossing.begin), number(crossing.end)
    at = begin if begin == end else f"{begin} – {end}"
    below, above = usd(crossing.usd_below), usd(crossing.usd_above)
    return (
        crossing.axis,
        _UNITS[crossing.axis].format(at),
        crossing.below.label,
        crossing.above.label,
        below if below == above else f"{below}, {above}",
        ", ".join(remark),
    )


def _nearest(found: Sequence[Crossing], axis: Axis) -> list[Crossing]:
    here = [each for each in found if each.axis == axis]
    near = sorted(here, key=lambda each: max(each.factor, 1 / each.factor))[:SHOWN]
    return sorted(near, key=lambda each: each.factor)


def remarks(costings: Sequence[Costing], found: Sequence[Crossing]) -> Iterator[str]:
    """Yield the assumptions behind the figures, and the notes of each service."""
    yield "list prices without free tier, tax and discounts; docs/services-prices.md has the formulas"
    if any(costing.run is not None for costing in costings):
        yield "a run is what one run adds; fees, plans and units are paid for a whole month or day, whatever its length"
    yield "an hour is the month's bill divided by its hours; –: no known quota binds"
    hidden = sum(max(0, sum(each.axis == axis for each in found) - SHOWN) for axis in AXES)
    if hidden:
        yield (
            f"{hidden} more crossings between × 1/{GROWTH} and × {GROWTH} of the load are in --format json; name fewer"
            " services to see theirs"
        )
    said: dict[str, set[str]] = {}
    for costing in costings:
        for each_note in costing.notes:
            offers = {
                each.label for each in costings if each.service is costing.service and each_note in each.notes
            }
            whole = {each.label for each in costings if each.service is costing.service}
            label = costing.service.service if offers == whole else costing.label
            if each_note not in said.setdefault(label, set()):
                said[label].add(each_note)
                yield f"{label}: {each_note}"


def usd(amount: Span) -> str:
    """Return an amount in US dollars as text: a range, a lower bound, or `unknown`."""
    if amount.low is None:
        return UNKNOWN
    low = pricing.money(float(amount.low))
    if amount.high is None:
        return f"≥ {low}"
    high = pricing.money(float(amount.high))
    return low if low == high else f"{low} – {high}"


def number(value: Fraction | None) -> str:
    """Return a number as text: whole from 100 on, three significant digits below."""
    if value is None:
        return UNKNOWN
    if value >= 10**9:
        return f"{float(value) / 1e9:,.2f} bn"
    return (
        f"{float(value):,.0f}" if value >= 100 or value.denominator == 1 else text.significant(float(value))
    )


def quantity(value: Fraction | None, unit: str) -> str:
    """Return a number with its unit as text."""
    if value is None:
        return UNKNOWN
    return f"{number(value)}{unit}" if unit == "/s" else f"{number(value)} {unit}".strip()
