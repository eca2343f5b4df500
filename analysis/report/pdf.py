"""The report as PDF for filing: the figures as text, then the plots."""

import textwrap
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from analysis import plots, text
from analysis.figures import cloudwatch
from analysis.loading.run import Run
from analysis.plots import style
from analysis.record import files
from analysis.report import outputs
from analysis.report.terminal import STEP_COLUMNS, latency_table, notes, step_rows

_PAGE = (8.27, 11.69)
_COLUMNS = ("p50", "p90", "p99", "p999", "max")
_WIDTH = 92


def write(run: Run, summary: dict[str, Any], path: Path) -> None:
    """Write the report, with the same figures as report.html from the same summary.

    Raises:
        OSError: the file cannot be written.
    """
    metadata = {"Title": text.clean(summary["run"]), "CreationDate": None}
    with files.replacing(path) as temporary, PdfPages(temporary, metadata=metadata) as pages:
        for lines in _pages(_lines(run, summary)):
            figure = Figure(figsize=_PAGE)
            # Plain text: a dollar sign from a run must not start a formula.
            figure.text(
                0.07, 0.95, "\n".join(lines), va="top", family="monospace", fontsize=8, parse_math=False
            )
            pages.savefig(figure)
        for plot in plots.ALL:
            with style.styled():
                drawn = plot(run)
                if drawn is not None:
                    pages.savefig(drawn, facecolor="white")


def _lines(run: Run, summary: dict[str, Any]) -> list[str]:
    _, sentence = text.verdict(summary)
    lines = [
        text.clean(summary["scenario"]),
        text.utc(run.manifest["created_ns"]),
        text.target(summary["target"]),
        "",
        *_wrapped(sentence),
        "",
    ]
    for note in notes(summary):
        lines += _wrapped(f"- {text.clean(note)}")
    if summary["gates"]:
        lines += ["", f"{'gate':<50} {'result':<13} {'measured':>12} {'margin':>10}"]
        for gate in summary["gates"]:
            lines.append(
                f"{text.clean(gate['gate'])[:50]:<50} {gate['status']:<13}"
                f" {outputs.value(gate, gate['value']):>12} {outputs.margin(gate):>10}"
            )
    ledger = summary["ledger"]
    if ledger is None:
        return lines
    lines += [
        "",
        f"{'latency':<32}" + "".join(f"{name:>11}" for name in ("p50", "p90", "p99", "p99.9", "max")),
    ]
    for name, cells, count in latency_table(summary):
        said = f"  {name}" if count is None else name
        lines.append(f"{said:<32}" + "".join(f"{cell:>11}" for cell in cells))
    if summary["steps"]:
        widths = (4, 8, 10, 8, 10, 10, 10, 10, 10, 10)
        lines.append("")
        for row in (STEP_COLUMNS, *step_rows(summary)):
            lines.append(" ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)))
    lines.append("")
    throughput = summary["throughput"]
    for name, value in (
        ("offered", text.rate(throughput["offered_per_s"])),
        ("accepted", text.rate(throughput["accepted_per_s"])),
        ("delivered", text.rate(throughput["delivered_per_s"])),
        ("expected deliveries", text.count(ledger["expected"])),
        ("delivered in time", text.count(ledger["delivered"])),
        ("delivery ratio", text.ratio(ledger["delivery_ratio"])),
        ("late", text.count(ledger["late"])),
        ("lost before ready", text.count(ledger["lost_before_ready"])),
        ("lost in a reconnect", text.count(ledger["lost_in_reconnect"])),
        ("lost otherwise", text.count(ledger["lost_otherwise"])),
        ("duplicates", text.count(ledger["duplicates"])),
        *([("altered", text.count(ledger["altered"]))] if ledger["altered"] is not None else []),
        ("the ledger balances", "yes" if ledger["balances"] else "NO"),
    ):
        lines.append(f"{name:<32}{value:>11}")
    if (theirs := summary.get("cloudwatch")) is not None:
        lines += ["", *_wrapped(f"CloudWatch, {text.clean(cloudwatch.when(theirs))}")]
        lines.append(f"{'':<40}{'ours':>13}{'CloudWatch':>13}{'difference':>13}{'of ours':>12}")
        for row in theirs["rows"]:
            ours, counted, difference, share = cloudwatch.cells(row)
            lines.append(f"{row['name']:<40}{ours:>13}{counted:>13}{difference:>13}{share:>12}")
    return lines


def _wrapped(sentence: str) -> list[str]:
    return textwrap.wrap(sentence, _WIDTH) or [""]


def _pages(lines: list[str], length: int = 85) -> list[list[str]]:
    return [lines[begin : begin + length] for begin in range(0, max(1, len(lines)), length)]
