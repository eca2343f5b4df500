"""The output of the speed benchmark: the details of each section, the one table of all figures, the bars, and JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from speed.section import OWN, REAL, Bar, Figure, Section

VERDICTS = {True: "met", False: "MISSED", None: "not measured"}
#: Version of the JSON file's format.
FORMAT = 1


def show(console: Console, section: Section) -> None:
    """Print the details of one section."""
    table = Table(title=section.title, title_justify="left", caption=section.note, caption_justify="left")
    for number, column in enumerate(section.columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
    show_errors(console, section)


def show_errors(console: Console, section: Section) -> None:
    """Print which tools of a section are missing, and which figures are wrong."""
    for name in section.missing:
        console.print(f"  missing: {name}", markup=False)
    for failure in section.failures:
        console.print(f"  wrong: {failure}", markup=False)


def show_figures(console: Console, sections: Sequence[Section]) -> None:
    """Print a table of all figures by tool, for events padded by the harness and for events with a real payload."""
    table = Table(title="All figures", title_justify="left")
    for number, column in enumerate(
        ("measured", "tool", OWN, REAL, "no payload", "unit", "of limit", "ours is")
    ):
        table.add_column(column, justify="left" if number in (0, 1, 5) else "right")
    figures = [figure for section in sections for figure in section.figures]
    by_what: dict[str, dict[str, dict[str | None, Figure]]] = {}
    for one in figures:
        by_what.setdefault(one.what, {}).setdefault(one.tool, {})[one.payload] = one
    for what, tools in by_what.items():
        for number, (tool, cells) in enumerate(tools.items()):
            unit = next(iter(cells.values())).unit
            table.add_row(
                what if number == 0 else "",
                tool,
                *(_value(cells.get(payload)) for payload in (OWN, REAL, None)),
                unit,
                *_compared(cells, tools),
                end_section=number == len(tools) - 1,
            )
    console.print(table)


def _value(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:,.3g}"


def _compared(
    cells: Mapping[str | None, Figure], tools: Mapping[str, Mapping[str | None, Figure]]
) -> tuple[str, str]:
    """Return two ratios as text: a tool's figure to that of the limit, and our figure to that of the tool.

    A ratio above 1 means better. The figures with a real payload are compared if there are any.
    """
    payload = next(each for each in (REAL, OWN, None) if each in cells)
    one = cells[payload]
    same = [each[payload] for each in tools.values() if payload in each]
    limit = next((each for each in same if each.role == "limit"), None)
    ours = next((each for each in same if each.role == "ours"), None)
    ratio = one.of_limit
    if ratio is None and limit is not None and one is not limit:
        ratio = _times(one, limit)
    of_limit = "–" if ratio is None else f"{ratio:.2f}"
    times = "–" if ours is None or one.role else f"{_times(ours, one):.1f} ×"
    return of_limit, times


def _times(better: Figure, than: Figure) -> float:
    """Return the factor by which the figure ``better`` is better than ``than``; below 1 if it is worse."""
    return than.value / better.value if better.cost else better.value / than.value


def show_bars(console: Console, bars: Iterable[Bar]) -> bool:
    """Print all bars; return True if every bar is met."""
    table = Table(title="Bars", title_justify="left")
    for column in ("bar", "stated", "measured", ""):
        table.add_column(column, justify="left" if column in ("bar", "") else "right")
    good = True
    for bar in bars:
        good = good and bar.met is True
        measured = "–" if bar.value is None else f"{bar.value:,.2f}{bar.unit}"
        bound = f"{'≤' if bar.at_most else '≥'} {bar.bound:,g}{bar.unit}"
        table.add_row(bar.name, bound, measured, VERDICTS[bar.met])
    console.print(table)
    return good


def for_json(sections: Mapping[str, Section]) -> list[dict[str, Any]]:
    """Return the sections for a JSON file, by their names on the command line."""
    return [
        {
            "section": name,
            "title": section.title,
            "interrupted": section.interrupted,
            "figures": [asdict(figure) for figure in section.figures],
            "bars": [{**asdict(bar), "met": bar.met} for bar in section.bars],
            "missing": section.missing,
            "failures": section.failures,
            "note": section.note,
        }
        for name, section in sections.items()
    ]
