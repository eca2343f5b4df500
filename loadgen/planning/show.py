"""Show an estimate as tables in a terminal, or as Markdown."""

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.console import indented, note, sentence
from loadgen.planning import wording
from loadgen.planning.estimate import HOURS_A_MONTH, Estimate

#: Share of a quota from which its row in the table is yellow, and share above which the row is red.
_NEAR, _OVER = 0.7, 1.0
#: Spaces between two columns of a table.
_GAP = 2
_OPERATIONS = ("", "the run", "$", "an hour", "$", f"a month ({HOURS_A_MONTH} h)", "$")
_FLEET = ("on several machines", "takes", "follows from")
_QUOTAS = ("at the peak", "asked", "quota", "share", "raised?", "certainty")


def print_estimate(estimate: Estimate, console: Console) -> None:
    """Print an estimate as tables."""
    sentence(console, Text(text.clean(estimate.run.name), "bold"))
    indented(console, wording.heading(estimate))
    for line in wording.groups(estimate):
        indented(console, line)
    console.print()
    if estimate.unpriced is not None:
        sentence(console, Text(wording.unpriced(estimate), "yellow"))
        console.print()
        _print_machine(estimate, console)
        return
    operations, totals = wording.operations(estimate), wording.totals(estimate)
    for places in _fitting(_OPERATIONS, [*operations, totals], console.width):
        table = _table([_OPERATIONS[place] for place in places])
        for row in operations:
            table.add_row(*(row[place] for place in places))
        table.add_section()
        table.add_row(*(Text(totals[place], "bold") for place in places))
        console.print(table)
        console.print()
    quotas = wording.quotas(estimate)
    narrow = _total(_QUOTAS, quotas) > console.width
    table = _table(_QUOTAS, gap=1 if narrow else _GAP)
    for use, row in zip(estimate.uses, quotas, strict=True):
        share = use.share or 0.0
        style = "bold red" if share > _OVER else "yellow" if share >= _NEAR and use.unit == "/s" else ""
        table.add_row(*(Text(cell, style) for cell in row))
    console.print(table)
    for line in wording.binding(estimate):
        sentence(console, Text(line, "bold"))
    console.print()
    _print_machine(estimate, console)
    console.print()
    if wording.takes_several(estimate):
        sentence(console, Text("what it takes on several machines", "bold"))
        table = Table(box=None, pad_edge=False, show_header=False)
        for figure in estimate.fleet.lines:
            table.add_row(f"  {figure.name}", Text(figure.shown, "bold"), Text(figure.basis, "dim"))
        console.print(table)
        console.print()
    for line in wording.remarks(estimate):
        note(console, Text(line, "dim"))


def _print_machine(estimate: Estimate, console: Console) -> None:
    sentence(console, Text("this machine", "bold"))
    for line in wording.machine(estimate):
        indented(console, line)


def markdown(estimate: Estimate) -> str:
    """Return an estimate as Markdown."""
    from analysis.report.outputs import escaped

    lines = [f"### {escaped(estimate.run.name)}: {escaped(wording.heading(estimate))}", ""]
    lines += [f"- {escaped(line)}" for line in wording.groups(estimate)]
    if estimate.unpriced is not None:
        lines += ["", escaped(wording.unpriced(estimate)), ""]
        lines += [f"- {escaped(line)}" for line in wording.machine(estimate)]
        return "\n".join(lines) + "\n"
    lines += ["", *_markdown_table(_OPERATIONS, [*wording.operations(estimate), wording.totals(estimate)])]
    lines += ["", *_markdown_table(_QUOTAS, wording.quotas(estimate)), ""]
    lines += [f"- **{escaped(line)}**" for line in wording.binding(estimate)]
    lines += [f"- {escaped(line)}" for line in wording.machine(estimate)]
    if wording.takes_several(estimate):
        rows = [(figure.name, figure.shown, figure.basis) for figure in estimate.fleet.lines]
        lines += ["", *_markdown_table(_FLEET, rows), ""]
    lines += [f"- {escaped(line)}" for line in wording.remarks(estimate)]
    return "\n".join(lines) + "\n"


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Divide a table that is wider than ``width``: return the columns of each part.

    Each part begins with the first column. The other columns stay together in pairs, a number and its cost.
    """
    parts = [[0]]
    for place in range(1, len(columns), 2):
        pair = [place, place + 1]
        together = [*parts[-1], *pair]
        wide = _total(
            [columns[each] for each in together], [[row[each] for each in together] for row in rows]
        )
        if wide > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1] += pair
    return parts


def _total(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Return the width of a table in which no cell is wrapped."""
    return sum(max(map(cell_len, cells)) for cells in zip(columns, *rows, strict=True)) + _GAP * (
        len(columns) - 1
    )


def _table(columns: Sequence[str], gap: int = _GAP) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        # A cell that is too wide is wrapped, never cut.
        left = number == 0 or column == "certainty"
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    from analysis.report.outputs import escaped

    right = ("---:" if number and column != "certainty" else "---" for number, column in enumerate(columns))
    return [
        "| " + " | ".join(escaped(column) for column in columns) + " |",
        "|" + "|".join(right) + "|",
        *("| " + " | ".join(escaped(cell) for cell in row) + " |" for row in rows),
    ]
