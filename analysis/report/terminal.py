"""The summary at the end of a run, in the terminal."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.console import sentence
from analysis.figures import addresses, echo
from analysis.report import outputs, reactions
from analysis.report.notes import notes
from analysis.verdict import checks

_STYLES = {"good": "bold green", "warning": "bold yellow", "bad": "bold red"}
#: At most this many workers' echoes are shown; the report has all.
_ECHOES_SHOWN = 8
#: Maximum number of addresses shown; `_ADDRESS_COLUMNS` are the columns of `addresses.COLUMNS` that are shown.
_ADDRESSES_SHOWN = 8
_ADDRESS_COLUMNS = (0, 1, 2, 6, 7, 11)
_COLUMNS = ("p50", "p90", "p99", "p999", "max")


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the figures of a summary."""
    console.print()
    print_verdict(summary, console)
    sentence(console, Text(text.target(summary["target"]), style="dim"))
    if summary["ledger"] is not None:
        console.print()
        console.print(_figures(summary))
        console.print()
        console.print(_latencies(summary))
        if (echoes := summary.get("echo")) is not None and echo.rows(echoes):
            console.print()
            console.print(_echoes(echoes))
        if summary["steps"]:
            console.print()
            console.print(_steps(summary))
        if by_address := addresses.rows(summary["addresses"]):
            console.print()
            console.print(_addresses(by_address))
    if summary["recovery"] is not None and summary["recovery"]["drops"]:
        console.print()
        console.print(_drops(summary))
    if summary["gates"]:
        console.print()
        console.print(_gates(summary))
    for said in (reactions.sentence(summary), checks.sentence(summary)):
        if said is not None:
            console.print()
            sentence(console, Text(said))
    if (cost := text.cost(summary)) is not None:
        console.print()
        sentence(console, Text(cost))
    for line in notes(summary):
        sentence(console, Text(line, style="yellow"))
    console.print()


def print_verdict(summary: dict[str, Any], console: Console) -> None:
    """Print the verdict in one sentence."""
    kind, verdict = text.verdict(summary)
    sentence(console, Text(verdict, style=_STYLES[kind]))


STEP_COLUMNS = ("step", "from", "offered", "due", "in time", "p50", "p90", "p99", "p99.9", "max")


def step_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table of load steps as text; `STEP_COLUMNS` are the headings."""
    if not summary["steps"]:
        return []
    start_ns = summary["steps"][0]["start_ns"]
    rows = []
    for number, step in enumerate(summary["steps"], start=1):
        first, *ends = _rows_of(step["headline_ns"])
        rows.append(
            (
                str(number),
                f"{(step['start_ns'] - start_ns) / 1e9:g} s",
                text.rate(step["intended_per_s"]),
                text.count(step["events_due"]),
                text.ratio(step["delivered"] / step["expected"] if step["expected"] else None),
                *first[1],
            )
        )
        rows += [("", "", "", "", name, *cells) for name, cells in ends]
    return rows


def _steps(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in STEP_COLUMNS:
        table.add_column(name, justify="right")
    for row in step_rows(summary):
        table.add_row(*row)
    return table


def drop_rows(summary: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the rows of the table of drops as text; `DROP_COLUMNS` are the headings."""
    if not summary["recovery"]["drops"]:
        return []
    # Drops happen only in the measure phase, so show their times relative to its start.
    start_ns = next(phase["start_ns"] for phase in summary["phases"] if phase["name"] == "measure")
    return [
        (
            f"{text.clean(drop['group'])} {drop['drop']}",
            f"{(drop['at_ns'] - start_ns) / 1e9:.1f} s",
            text.count(drop["connections"]),
            f"{drop['ready_again']:,} of {drop['subscriptions']:,}",
            *(text.duration(drop[f"to_{share}_ns"]) for share in ("50", "99", "all")),
        )
        for drop in summary["recovery"]["drops"]
    ]


DROP_COLUMNS = ("drop", "at", "cut", "ready again", "50 %", "99 %", "all")


def _drops(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(DROP_COLUMNS):
        table.add_column(name, justify="right" if place else "left")
    for row in drop_rows(summary):
        table.add_row(*row)
    return table


_GATE_STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow"}


def _gates(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, right in (("", False), ("gate", False), ("measured", True), ("margin", True)):
        table.add_column(name, justify="right" if right else "left")
    notes = [outputs.remark(result) for result in summary["gates"]]
    for result, note, following in zip(summary["gates"], notes, [*notes[1:], ""], strict=True):
        look = _GATE_STYLES[result["status"]]
        table.add_row(
            Text(outputs.SIGNS[result["status"]], look),
            Text(text.clean(result["gate"])),
            outputs.shown(result),
            Text(outputs.margin(result), look),
        )
        if note and note != following:
            # Put a gate's remark on a row below the gate: beside it, it would not fit into 80 columns. Successive gates
            # with the same remark, as in an invalid run, share one such row.
            table.add_row("", Text(text.clean(note), "dim"), "", "")
    return table


def _figures(summary: dict[str, Any]) -> Table:
    ledger, throughput, fanout = summary["ledger"], summary["throughput"], summary["fanout"]
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(2):
        table.add_column(style="dim")
        table.add_column(justify="right")
    rows = [
        (
            "offered",
            text.rate(throughput["offered_per_s"]),
            "expected deliveries",
            text.count(ledger["expected"]),
        ),
        ("accepted", text.rate(throughput["accepted_per_s"]), "delivered", text.count(ledger["delivered"])),
        (
            "delivered",
            text.rate(throughput["delivered_per_s"]),
            "delivery ratio",
            text.ratio(ledger["delivery_ratio"]),
        ),
        (
            "subscribers an event",
            text.UNKNOWN
            if fanout["subscribers_per_event"] is None
            else text.significant(fanout["subscribers_per_event"]),
            "late, duplicate, reordered",
            f"{ledger['late']:,} / {ledger['duplicates']:,} / {ledger['reordered']:,}",
        ),
        (
            "events that reached all",
            f"{fanout['complete']:,} of {fanout['events']:,}",
            "lost unready, reconnect, other",
            f"{ledger['lost_before_ready']:,} / {ledger['lost_in_reconnect']:,} / {ledger['lost_otherwise']:,}",
        ),
    ]
    if ledger["altered"] is not None:
        rows.append(("", "", "altered on the way", text.count(ledger["altered"])))
    for left, value, right, other in rows:
        # Padding keeps the second line of a label below its first.
        table.add_row(left, value, Padding(right, (0, 0, 0, 3)), other)
    return table


def _latencies(summary: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("latency")
    for name in ("p50", "p90", "p99", "p99.9", "max"):
        table.add_column(name, justify="right")
    for name, figures in latency_rows(summary):
        first, *ends = _rows_of(figures)
        table.add_row(name, *first[1])
        for end, cells in ends:
            table.add_row(f"  {end}", *cells, style="dim")
    return table


def _rows_of(figures: dict[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rows (name, percentiles as text) of a distribution.

    A row for the lower bounds and one for the upper bounds follow, each only if it differs from the first row.
    """
    cells = tuple(text.duration(figures[column]) for column in _COLUMNS)
    rows = [("", cells)]
    for name, end in (("at least", figures.get("low")), ("at most", figures.get("high"))):
        if end is not None:
            those = tuple(text.duration(end[column]) for column in _COLUMNS)
            if those != cells:
                rows.append((name, those))
    return rows


def latency_table(summary: dict[str, Any]) -> list[tuple[str, tuple[str, ...], int | None]]:
    """Return (name, percentiles as text, sample count) for each row.

    A row that shows a bound of the row above has None as its sample count.
    """
    table = []
    for name, figures in latency_rows(summary):
        for end, cells in _rows_of(figures):
            table.append((end or name, cells, None if end else figures["count"]))
    return table


def _echoes(echoes: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(echo.COLUMNS):
        table.add_column(name, justify="right" if place else "left")
    for row in echo.rows(echoes, _ECHOES_SHOWN):
        table.add_row(*row)
    return table


def _addresses(by_address: list[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    # Show only the columns that fit into 80 characters; the HTML report has all columns.
    for place in _ADDRESS_COLUMNS:
        table.add_column(
            addresses.COLUMNS[place], justify="right" if place else "left", no_wrap=not place, overflow="fold"
        )
    for row in by_address[:_ADDRESSES_SHOWN]:
        table.add_row(*(row[place] for place in _ADDRESS_COLUMNS))
    if len(by_address) > _ADDRESSES_SHOWN:
        table.add_row(f"and {len(by_address) - _ADDRESSES_SHOWN} more")
    return table


def latency_rows(summary: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, figures) of each row of the latency table."""
    delivery, publish, fanout = summary["delivery"], summary["publish"], summary["fanout"]
    return [
        ("fan-out (arrival − intended)", delivery["headline_ns"]),
        ("service (arrival − sent)", delivery["service_ns"]),
        ("first subscriber of an event", fanout["first_ns"]),
        ("median subscriber", fanout["median_ns"]),
        ("99 % of subscribers", fanout["p99_ns"]),
        ("last subscriber of an event", fanout["last_ns"]),
        ("receive queue (our own)", delivery["receive_queue_ns"]),
        ("publish answer", publish["answer_ns"]),
        ("waiting for a request slot", publish["slot_wait_ns"]),
        ("waiting for a connection", publish["connection_wait_ns"]),
        ("schedule lateness (our own)", publish["own_lateness_ns"]),
        *reactions.latency_rows(summary),
    ]
