"""A comparison of services as rows of text, for the terminal, Markdown and the HTML page, and as JSON."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from analysis import text
from analysis.choose.figures import METRICS, Figure, Measured, measured, spread
from analysis.choose.record import Amount, Bill, Choice, Cost, Tried, Use, read
from analysis.gates.metrics import Kind, find
from analysis.loading.run import ReadError
from analysis.pricing import money

_NO_RUN: Final = "no run"


@dataclass(frozen=True)
class Column:
    """One service of the comparison, with the runs made on it."""

    tried: Tried
    runs: tuple[Measured, ...]
    problem: str | None
    """Why the service has no runs, or why one of its runs cannot be read."""


@dataclass(frozen=True)
class Row:
    """A line of the table: its title, and a cell for each service."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table of the comparison: a heading and its rows."""

    title: str
    rows: tuple[Row, ...]


def columns(folder: Path) -> tuple[Choice, list[Column]]:
    """Return the record of a comparison in a folder, and a column with the figures of each service's runs.

    Raises:
        ReadError: the record cannot be read.
    """
    choice = read(folder)
    return choice, [_column(folder, tried) for tried in choice.services]


def _column(folder: Path, tried: Tried) -> Column:
    runs, problem = [], tried.problem
    for made in tried.runs:
        try:
            runs.append(measured(folder / made.folder))
        except ReadError as error:
            problem = problem or str(error)
    return Column(tried, tuple(runs), problem)


def tables(found: Sequence[Column], month: str) -> list[Table]:
    """Return tables of the figures, costs and limits, with one column per service."""
    measured_rows = [
        Row("runs, and their verdicts", tuple(map(_verdicts, found))),
        Row("the ledger balances", tuple(map(_balances, found))),
        Row("kernel time stamps", tuple(map(_kernel, found))),
        *(Row(name, tuple(_cell(metric, column) for column in found)) for metric, name in METRICS.items()),
    ]
    tables = [Table("Measured", tuple(measured_rows))]
    if any(column.tried.costs or column.tried.unpriced for column in found):
        title = "Cost and quotas" + (f" (a month: {text.clean(month)})" if month else "")
        tables.append(
            Table(
                title,
                tuple(
                    Row(name, tuple(_offers(column, said, first=not place) for column in found))
                    for place, (name, said) in enumerate(_COSTS.items())
                ),
            )
        )
    return tables


def limits(found: Sequence[Column]) -> list[tuple[str, str]]:
    """Return the parts of the scenario that services cannot run, each as (labels of the services, sentence)."""
    said: dict[str, list[str]] = {}
    for column in found:
        if column.problem is not None:
            began = "a run failed" if column.runs else "did not run"
            said.setdefault(f"{began}: {text.clean(column.problem)}", []).append(column.tried.label)
        for limit in column.tried.limits:
            said.setdefault(text.clean(limit), []).append(column.tried.label)
    return [(", ".join(labels), line) for line, labels in said.items()]


def stand_ins(found: Sequence[Column]) -> list[str]:
    """Return one sentence for each service that was not tried itself, but replaced by a stand-in on this machine."""
    return [
        f"{column.tried.label} was {text.clean(column.tried.stands_for)}"
        for column in found
        if column.tried.stands_for is not None and column.runs
    ]


def shown(metric: str, figure: Figure) -> str:
    """Return a figure with its unit, and its bounds if they differ from it."""
    if figure.low is None or figure.high is None:
        return text.UNKNOWN
    value, low, high = (_unit(metric, each) for each in (figure.value, figure.low, figure.high))
    if figure.value is None:
        return low if low == high else f"{low} … {high}"
    return value if low == value == high else f"{value} ({low} … {high})"


def as_json(choice: Choice, found: Sequence[Column]) -> dict[str, Any]:
    """Return the comparison as JSON values; times are in nanoseconds, unknown values are null."""
    return {
        "format": choice.format,
        "scenario": choice.scenario,
        "created_ns": choice.created_ns,
        "month": choice.month,
        "services": [
            {
                "label": column.tried.label,
                "title": column.tried.title,
                "stands_for": column.tried.stands_for,
                "command": column.tried.command,
                "problem": column.problem,
                "runs": [
                    {
                        "folder": str(run.folder),
                        "verdict": run.verdict,
                        "balances": run.balances,
                        "kernel_stamps": run.kernel_stamps,
                        "figures": {metric: asdict(figure) for metric, figure in run.figures.items()},
                    }
                    for run in column.runs
                ],
                "costs": [msgspec.to_builtins(cost) for cost in column.tried.costs],
                "unpriced": column.tried.unpriced,
                "limits": list(column.tried.limits),
            }
            for column in found
        ],
    }


def _unit(metric: str, value: float | None) -> str:
    match find(metric).kind:
        case Kind.DURATION:
            return text.duration(value)
        case Kind.SHARE:
            return text.ratio(value)
        case Kind.RATE:
            return text.rate(value)
    return text.count(value)


def _cell(metric: str, column: Column) -> str:
    if not column.runs:
        return _NO_RUN
    return shown(metric, spread([run.figures[metric] for run in column.runs]))


def _verdicts(column: Column) -> str:
    if not column.runs:
        return _NO_RUN
    kinds = [run.verdict for run in column.runs]
    return ", ".join(
        kind if len(kinds) == 1 else f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)
    )


def _balances(column: Column) -> str:
    known = {run.balances for run in column.runs}
    if not known or None in known:
        return text.UNKNOWN if column.runs else _NO_RUN
    return "yes" if known == {True} else "no"


def _kernel(column: Column) -> str:
    if not column.runs:
        return _NO_RUN
    known = [run.kernel_stamps for run in column.runs if run.kernel_stamps is not None]
    return text.ratio(min(known)) if len(known) == len(column.runs) else text.UNKNOWN


def _money(usd: Amount) -> str:
    if usd.min is None:
        return text.UNKNOWN
    if usd.max is None:
        return f"at least {money(usd.min)}"
    low, high = money(usd.min), money(usd.max)
    return low if low == high else f"{low} … {high}"


def _bill(bill: Bill | None) -> str:
    if bill is None:
        return text.UNKNOWN
    return _money(bill.usd) + ("" if bill.sure or bill.usd.min is None else " (not sure)")


def _use(use: Use | None) -> str:
    if use is None:
        return text.UNKNOWN
    name = text.clean(use.name.replace("_", " "))
    return name if use.share is None else f"{name}, {text.ratio(use.share)} used"


def _offers(column: Column, said: Callable[[Cost], str], *, first: bool) -> str:
    """Return one cell with a text for each billing offer of a service; ``said`` makes the text from the offer's cost.

    Without an offer, the cell gives the reason if this is the ``first`` row of the costs, and says "unknown" in the
    other rows.
    """
    costs = column.tried.costs
    if not costs:
        return text.clean((column.tried.unpriced if first else None) or text.UNKNOWN)
    if len(costs) == 1:
        return said(costs[0])
    return "; ".join(f"{text.clean(cost.offer)}: {said(cost)}" for cost in costs)


_COSTS: Final[dict[str, Callable[[Cost], str]]] = {
    "this run": lambda cost: _bill(cost.run),
    "an hour of use": lambda cost: _bill(cost.hour),
    "a month": lambda cost: _bill(cost.month),
    "quota that binds first": lambda cost: _use(cost.binds_first),
}
