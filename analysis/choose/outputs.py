"""Show a comparison of services in the terminal, or as Markdown."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.choose import content
from analysis.choose.content import Column
from analysis.choose.record import Choice
from analysis.console import note, sentence
from analysis.report.outputs import escaped

BOUNDS = (
    "In brackets: the interval in which the true figure lies, by the clocks and stamps of the run. Several runs show"
    " the lowest and the highest such bound. How runs differ among themselves is not in it: make three or more."
)


def show(console: Console, choice: Choice, found: Sequence[Column]) -> None:
    """Print the tables, and the parts of the scenario that each service cannot run."""
    for each in content.tables(found, choice.month):
        sentence(console, Text(each.title, style="bold"))
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("", overflow="fold")
        for column in found:
            table.add_column(column.tried.label, justify="right", overflow="fold")
        for row in each.rows:
            table.add_row(Text(row.name), *(Text(cell) for cell in row.cells))
        console.print(table)
        console.print()
    for line in content.stand_ins(found):
        sentence(console, Text(line, style="yellow"))
    for labels, line in content.limits(found):
        note(console, Text(f"{labels}: {line}"))
    sentence(console, Text(BOUNDS, style="dim"))


def markdown(choice: Choice, found: Sequence[Column]) -> str:
    """Return the comparison as Markdown."""
    lines = [f"# {escaped(text.clean(choice.scenario))} on {len(found)} services", ""]
    lines += [f"- {escaped(line)}" for line in content.stand_ins(found)] + [""]
    for each in content.tables(found, choice.month):
        lines += [f"## {escaped(each.title)}", ""]
        lines.append("| | " + " | ".join(escaped(column.tried.label) for column in found) + " |")
        lines.append("|---|" + "---|" * len(found))
        lines += [
            f"| {escaped(row.name)} | " + " | ".join(map(escaped, row.cells)) + " |" for row in each.rows
        ]
        lines.append("")
    lines += ["## What each cannot do, or does differently", ""]
    lines += [f"- {escaped(labels)}: {escaped(line)}" for labels, line in content.limits(found)]
    lines += ["", BOUNDS, ""]
    return "\n".join(lines)
