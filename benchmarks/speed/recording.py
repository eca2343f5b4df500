"""Share of our receive path's CPU time that recording takes.

Two receivers receive, decode and stamp every delivery. One makes histograms and writes the spool each second; the other
discards the rows.
"""

from receive import measure
from receive.measure import FAN_OUT
from receive.receivers import OURS, OURS_UNRECORDED

from speed.section import Bar, Options, Section

ROUNDS = 5
COLUMNS = ("receiver", "µs of CPU each", "least–most", "per CPU-s", "at", "busy", "frames/read", "memory")


def run(options: Options) -> Section:
    """Measure both receivers at the same rate, in turn."""
    section = Section("Recording", COLUMNS, note="The fan-out pattern of the receive section, at one rate.")
    try:
        rows, section.failures = measure.in_turn(
            (OURS, OURS_UNRECORDED),
            FAN_OUT,
            ROUNDS,
            options.subscribers,
            options.seconds,
            options.scratch,
        )
    except measure.ReceiverError as error:
        rows, section.failures = [], [str(error)]
    section.note += f" {measure.others_note(rows)}"
    for row in rows:
        least, most = row.spread
        section.rows.append(
            (
                row.name,
                f"{1e6 / row.per_cpu_s:.2f}",
                f"{1e6 / most:.2f}–{1e6 / least:.2f}",
                f"{row.per_cpu_s:,.0f}",
                f"{row.rate:,.0f}/s",
                f"{row.busy:.0%}",
                row.shown_frames_per_read,
                f"{row.rss_bytes / 1e6:.0f} MB",
            )
        )
    # Values are frames per CPU second: the lower with recording, the more recording costs.
    share = 1 - rows[0].per_cpu_s / rows[1].per_cpu_s if rows else None
    section.bars = [Bar("recording: share of the receive path", share, 0.25, at_most=True)]
    return section
