"""Format figures for people, and clean text that comes from outside."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from analysis.pricing import money

UNKNOWN = "–"
#: Descriptions of the items whose cost may be unknown.
UNPRICED = {
    "publish": "events published",
    "delivery": "events delivered",
    "foreign": "events of others",
    "probe_publish": "probes",
    "probe_delivery": "deliveries of probes",
    "connect": "connects",
    "subscribe": "subscribes",
    "handler": "handler invocations",
    "keepalive": "keep-alives",
    "connection_minutes": "connection-minutes",
    "data_out": "data transfer",
}
#: Matches numbers, addresses and identifiers, which differ between errors of one kind.
_VARIES: Final = re.compile(r"\b(?:[0-9a-f]{8,}(?:-[0-9a-f]{4,})*|\d[\d.:]*)\b", re.IGNORECASE)
_UNITS = ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs"), (1, "ns"))


def duration(ns: float | None) -> str:
    """Return a duration with three significant digits and a fitting unit."""
    if ns is None:
        return UNKNOWN
    if ns == 0:
        return "0"
    for size, unit in _UNITS:
        if abs(ns) >= size * 0.9995:
            return f"{significant(ns / size)} {unit}"
    return f"{significant(ns)} ns"


def kind_of(error: str) -> str:
    """Return the kind of an error: its text with numbers, addresses and identifiers replaced by `…`."""
    return clean(_VARIES.sub("…", error))


def cores(value: float | None) -> str:
    """Return a number of cores: `30 % of a core`, `1.5 cores`."""
    if value is None:
        return UNKNOWN
    if value < 1:
        return f"{value * 100:.3g} % of a core"
    return "1 core" if value == 1 else f"{value:.3g} cores"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with ``digits`` significant digits, without an exponent; a longer whole part is kept in full."""
    # Round before counting the digits, so that 0.9997 becomes 1.00 and not 1.000.
    rounded = abs(float(f"{value:.{digits}g}"))
    whole = len(str(int(rounded))) if rounded >= 1 else 0
    return f"{value:,.{max(0, digits - whole)}f}"


def count(value: float | None) -> str:
    """Return a whole number with thousands separators."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def utc(at_ns: int) -> str:
    """Return a wall-clock time in UTC, so that a run's files are the same wherever they are made."""
    return f"{datetime.fromtimestamp(at_ns // 1_000_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def target(of: Mapping[str, Any]) -> str:
    """Return a summary's target in one line."""
    embedded = " (embedded server)" if of["embedded"] else ""
    how = f" · {quality}" if (quality := of["setup"].get("quality of service")) else ""
    proxies = f" · through the proxy {', '.join(of['proxies'])}" if of.get("proxies") else ""
    return clean(f"{of['service']} · {of['url']}{embedded}{how}{proxies}")


def rate(value: float | None) -> str:
    """Return a rate per second."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}/s" if value >= 100 else f"{significant(value)}/s"


def ratio(value: float | None, of: int | None = None) -> str:
    """Return a share in per cent, never rounded up to 100 or down to 0: 999,999 of 1,000,000 is not 100 %."""
    if value is None:
        return UNKNOWN
    percent = value * 100
    if percent in (0, 100):
        return f"{percent:.0f} %"
    for digits in range(2, 12):
        text = f"{percent:.{digits}f}"
        if float(text) not in (0.0, 100.0):
            return f"{text} %"
    return f"{percent!r} %"


def size(value: float | None) -> str:
    """Return bytes in MiB."""
    return UNKNOWN if value is None else f"{value / 2**20:,.0f} MiB"


def clean(text: Any) -> str:
    """Return text from outside without control characters, which a terminal would obey, cut to 300 characters."""
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return shown if len(shown) <= 300 else shown[:299] + "…"


def printable(value: Any) -> Any:
    """Replace the control characters in a plain string, except newline and tab; return all other values unchanged."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in value)


def sentence_part(reason: Any) -> str:
    """Return a reason from outside for use within a sentence: cleaned (see `clean`), without a final full stop."""
    return clean(reason or "no reason is on record").rstrip(". ")


def cost(summary: Mapping[str, Any]) -> str | None:
    """Return a sentence on what a run cost, or would have cost on AWS, or None if its record holds no prices."""
    found = summary.get("cost")
    if found is None:
        return None
    began = "this run cost" if found["billed"] else "on AWS this run would have cost"
    prices = found["prices"]
    said = (
        f"{began} about {money(found['usd_total'])}: {count(found['operations_billed'])} operations,"
        f" {significant(found['connection_minutes'])} connection-minutes ({clean(prices['service'])},"
        f" {clean(prices['region'])}, {clean(prices['as_of'] or 'no date')})"
    )
    if found["unknown"]:
        names = [UNPRICED.get(name, name) for name in found["unknown"]]
        said += f"; not known: {', '.join(names)}"
    return said


def verdict(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return (kind, sentence): 'good', 'warning' or 'bad', and the verdict in words.

    'good' requires a valid run that passed its gates or, without gates, has no lost, late or duplicate delivery.
    """
    ledger, judged = summary["ledger"], summary["verdict"]
    found = "nothing was measured"
    if ledger is not None and ledger["expected"]:
        found = f"{ledger['delivered']:,} of {ledger['expected']:,} expected deliveries arrived"
        if ledger["lost"]:
            found += f", {ledger['lost']:,} {'was' if ledger['lost'] == 1 else 'were'} lost"
        if ledger["late"]:
            found += f", {ledger['late']:,} came too late"
        if ledger["duplicates"]:
            found += f", {ledger['duplicates']:,} came more than once"
    worst = judged["findings"][0]["reason"] if judged["findings"] else ""
    if summary["status"] not in ("complete", "aborted"):
        seconds = summary["measured_seconds"]
        how_far = f", {seconds:.1f} s into the measurement" if seconds else ""
        reason = clean(summary["reason"] or summary["status"])
        kind = "bad" if summary["status"] == "failed" or judged["kind"] == "invalid" else "warning"
        return kind, f"Partial: {reason}{how_far}; {found}"
    if judged["kind"] == "invalid":
        return "bad", f"Invalid: {worst}; {found}"
    if summary["outages"]:
        seconds = sum(outage["end_ns"] - outage["start_ns"] for outage in summary["outages"]) / 1e9
        return "bad", f"The target was away for {seconds:.1f} s of the measurement; {found}"
    gates = summary["gates"]
    for status, kind, said in (("failed", "bad", "Failed"), ("inconclusive", "warning", "Inconclusive")):
        names = [clean(gate["gate"]) for gate in gates if gate["status"] == status]
        if names:
            of = (
                f"gate {names[0]}"
                if len(gates) == 1
                else f"{len(names)} of {len(gates)} gates ({'' if len(names) == 1 else 'the first: '}{names[0]})"
            )
            early = "" if summary["status"] == "complete" else " (ended early)"
            return kind, f"{said}{early}: {of}; {found}"
    if summary["status"] == "aborted":
        return "bad", f"Failed: {clean(summary['reason'])}; {found}"
    passed = f"{len(gates)} of {len(gates)} gates passed; " if gates else ""
    if judged["kind"] == "degraded":
        return (
            "warning",
            f"{'Passed, but degraded' if gates else 'Degraded'}: {passed}{found}; in doubt: {worst}",
        )
    whole = not (ledger["lost"] or ledger["late"] or ledger["duplicates"])
    return ("good" if whole or gates else "warning"), f"Valid: {passed}{found}"
