"""The findings and further remarks on a run, one sentence each, for the terminal and the report."""

from typing import Any

from analysis import text
from analysis.figures import echo
from analysis.report import sharing
from analysis.verdict import checks, clockbound, loops, silent, throttling
from analysis.verdict.findings import explained

#: At most this many kinds of unreadable messages are named.
_MOST_KINDS = 3


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
        ("foreign", "of other runs"),
        ("unknown_subscription", "for subscriptions that no client has made"),
    ):
        if workers[name]:
            events = "event" if workers[name] == 1 else "events"
            lines.append(f"received {workers[name]:,} {events} {meaning}")
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
