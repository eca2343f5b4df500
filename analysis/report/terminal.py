"""The summary at the end of a run, in the terminal."""

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analysis import text
from analysis.console import sentence
from analysis.figures import addresses, echo
from analysis.report import outputs, reactions, sharing
from analysis.verdict import checks, clockbound, loops, silent, throttling
from analysis.verdict.findings import explained

_STYLES = {"good": "bold green", "warning": "bold yellow", "bad": "bold red"}
#: At most this many kinds of unreadable messages are named.
_MOST_KINDS = 3
#: At most this many workers' echoes are shown; the report has all.
_ECHOES_SHOWN = 8
#: At most this many addresses are shown, with these columns of `addresses.COLUMNS`.
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


def _finding(finding: dict[str, Any]) -> str:
    section = explained(finding.get("subject"))
    said = f"{finding['severity']}: {finding['reason']} – {finding['advice']}"
    return said if section is None else f"{said} ({section})"


def notes(summary: dict[str, Any]) -> list[str]:
    """Return the findings and further remarks for the reader, one sentence each."""
    lines = [_finding(finding) for finding in summary["verdict"]["findings"]]
    if summary["faults"]:
        lines.append("the target injected faults on purpose: these figures are not its own")
    lines += loops.sentences(summary)
    lines += checks.failing(summary)
    lines += throttling.notes(summary)
    lines += silent.notes(summary)
    lines += _purposes(summary)
    for outage in summary["outages"]:
        start_ns = next(phase["start_ns"] for phase in summary["phases"] if phase["name"] == "measure")
        begin_s, end_s = ((outage[edge] - start_ns) / 1e9 for edge in ("start_ns", "end_ns"))
        lines.append(
            f"the target was away from {begin_s:.1f} s to {end_s:.1f} s of the measurement:"
            f" {outage['connections_lost']:,} connections lost ({outage['connections_silent']:,} had fallen silent),"
            f" {outage['attempts_failed']:,} attempts failed"
        )
    lines += sharing.notes(summary)
    publish, workers, connections = summary["publish"], summary["workers"], summary["connections"]
    for source, errors in (
        ("publish", publish["errors"] if publish else {}),
        ("connection", connections["errors"]),
        ("subscription", summary["readiness"]["errors"]),
    ):
        for message, number in list(errors.items())[:3]:
            lines.append(f"{source}: {text.clean(message)} ({number:,}×)")
    for name, meaning in (
        ("foreign", "events that were not this run's"),
        ("unknown_subscription", "events for subscriptions that no client has made"),
    ):
        if workers[name]:
            lines.append(f"received {workers[name]:,} {meaning}")
    if workers["undecodable"]:
        lines.append(_undecodable(workers))
    appsync = summary["target"]["protocol"] == "appsync-events"
    norm = "AWS" if appsync else summary["target"]["service"]
    for what, number in workers["deviations"].items():
        lines.append(f"the service deviates from {norm}: {text.clean(what)} ({number:,}×)")
    for what, number in workers["network"].items():
        lines.append(f"{text.clean(what)} ({number:,}×)")
    for late in workers["late"]:
        lines.append(
            f"worker {late['worker']} ({text.clean(late['hostname'])}) came in the phase {late['phase']} and took"
            " no part"
        )
    for clock in summary["clock"]["workers"]:
        if not clock["shared"] and clock["error_ns"] is not None:
            where = "behind" if clock["offset_ns"] > 0 else "ahead of"
            lines.append(
                f"worker {clock['worker']}'s clock was {text.duration(abs(clock['offset_ns']))} {where} the master's"
                f" and drifted by {-clock['drift_ppm']:+.1f} ppm: corrected to ±{text.duration(clock['error_ns'])}"
            )
    lines += clockbound.notes(summary["clock"].get("clockbound", []))
    lines += echo.notes(summary.get("echo"))
    if delivery_unknown := (summary["delivery"] or {}).get("service_unknown"):
        lines.append(
            f"{delivery_unknown:,} deliveries have no service latency: their publisher's clock is not known"
        )
    if connections["kernel_timestamps"] is not None and connections["kernel_timestamps"] < 1:
        share = text.ratio(1 - connections["kernel_timestamps"])
        lines.append(
            f"{share} of connections had no kernel timestamps: their arrival is the time of the read"
        )
    delivery = summary["delivery"]
    if delivery is not None:
        for name, meaning in (
            ("headline_ns", "headline latencies"),
            ("receive_queue_ns", "receive-queue delays"),
        ):
            if delivery[name]["negative"]:
                lines.append(f"{delivery[name]['negative']:,} {meaning} are negative: clocks disagree")
    return lines


def _undecodable(workers: dict[str, Any]) -> str:
    """Return a sentence on the unreadable messages: their number, their kinds, and the first of each kind."""
    count, kinds = workers["undecodable"], workers.get("undecodable_kinds", ())
    parts = [
        f"{text.clean(kind['kind'])} ({kind['count']:,}×), first: {text.clean(kind['example'])}"
        for kind in kinds[:_MOST_KINDS]
    ]
    if len(kinds) > _MOST_KINDS:
        parts.append(f"and {len(kinds) - _MOST_KINDS} more kinds")
    said = f"the service sent {count:,} {'message' if count == 1 else 'messages'} that cannot be read"
    return f"{said}: {'; '.join(parts)}" if parts else said


def _purposes(summary: dict[str, Any]) -> list[str]:
    """Return sentences on disruptions that the scenario asked for and on reconnects."""
    recovery = summary["recovery"]
    if recovery is None:
        return []
    purpose, again, ledger = recovery["on_purpose"], recovery["reconnects"], summary["ledger"]
    parts = [
        f"{purpose[name]:,} {meaning}"
        for name, meaning in (
            ("dropped", "connections were cut"),
            ("left", "connections were left by their clients"),
            ("unsubscribed", "subscriptions were given up"),
            ("slow_clients", "clients read slowly"),
        )
        if purpose[name]
    ]
    lines = []
    if parts:
        missed = ""
        if ledger is not None and (ledger["missed_in_gap"] or ledger["missed_away"]):
            missed = (
                f"; missed in the gap {ledger['missed_in_gap']:,}, while away {ledger['missed_away']:,}"
                " (no losses)"
            )
        lines.append(f"on purpose: {', '.join(parts)}{missed}")
    if again["attempts"]:
        lines.append(
            f"reconnects: {again['attempts']:,} attempts, {again['failed']:,} failed,"
            f" at most {again['peak_per_s']:,} in one second"
        )
    return lines


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
            # Put the remark on a separate row: beside the gate it would not fit into 80 columns. Several gates with
            # the same remark, as in an invalid run, share one.
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
    """Return (name, percentiles as text) of a distribution, followed by its lower and upper bounds if they differ."""
    cells = tuple(text.duration(figures[column]) for column in _COLUMNS)
    rows = [("", cells)]
    for name, end in (("at least", figures.get("low")), ("at most", figures.get("high"))):
        if end is not None:
            those = tuple(text.duration(end[column]) for column in _COLUMNS)
            if those != cells:
                rows.append((name, those))
    return rows


def latency_table(summary: dict[str, Any]) -> list[tuple[str, tuple[str, ...], int | None]]:
    """Return (name, percentiles as text, samples) of each row; samples is None for a bound of the row above."""
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
    # Show only the columns that fit into 80 characters; the report has all.
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
