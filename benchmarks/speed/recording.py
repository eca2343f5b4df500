"""Share of our receive path's CPU time that recording takes.

Two receivers receive, decode and stamp every delivery. One makes histograms and writes the spool each second; the other
discards the rows.
"""

from receive import measure
from receive.measure import FAN_OUT, FAN_OUT_REAL, Pattern
from receive.receivers import OURS, OURS_UNRECORDED
from receive.running import ReceiverError

from speed.section import OWN, REAL, Bar, Figure, Options, Section

#: Turns of both.
TURNS = 3
COLUMNS = (
    "receiver",
    "payload",
    "µs of CPU each",
    "least–most",
    "per CPU-s",
    "at",
    "busy",
    "frames/read",
    "memory",
)


PATTERNS = ((FAN_OUT, OWN), (FAN_OUT_REAL, REAL))


def run(options: Options) -> Section:
    """Measure both receivers at the same rate, in turn."""
    section = Section("Recording", COLUMNS, note="The fan-out pattern of the receive section, at one rate.")
    shares = [_measured(section, options, pattern, payload) for pattern, payload in PATTERNS]
    section.bars = [
        Bar(f"recording: share of the receive path, {payload}", share, 0.25, at_most=True)
        for (_, payload), share in zip(PATTERNS, shares, strict=True)
    ]
    return section


def _measured(section: Section, options: Options, pattern: Pattern, payload: str) -> float | None:
    """Measure both receivers with one payload; return the share of CPU time spent on recording, or None on failure."""
    try:
        rows, failures = measure.in_turn(
            (OURS, OURS_UNRECORDED), pattern, TURNS, options.subscribers, options.seconds, options.scratch
        )
    except ReceiverError as error:
        rows, failures = [], [str(error)]
    section.failures += failures
    section.note += f" {measure.others_note(rows)}"
    for row in rows:
        least, most = row.spread
        section.figures.append(
            Figure("record, fan-out", row.name, payload, 1e6 / row.per_cpu_s, "µs CPU a delivery", cost=True)
        )
        section.rows.append(
            (
                row.name,
                payload,
                f"{1e6 / row.per_cpu_s:.2f}",
                f"{1e6 / most:.2f}–{1e6 / least:.2f}",
                f"{row.per_cpu_s:,.0f}",
                f"{row.rate:,.0f}/s",
                f"{row.busy:.0%}",
                row.shown_frames_per_read,
                f"{row.rss_bytes / 1e6:.0f} MB",
            )
        )
    # Both values are frames per CPU second: rows[0] with recording, rows[1] without.
    return 1 - rows[0].per_cpu_s / rows[1].per_cpu_s if rows else None
