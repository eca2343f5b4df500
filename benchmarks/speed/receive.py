"""Deliveries per CPU-second of the receive path: ours with recording, the C reader as the limit, and other tools."""

import os

from receive import measure, receivers
from receive.measure import BURST, BURST_REAL, FAN_OUT, FAN_OUT_2KB, FAN_OUT_REAL, Row
from receive.payloads import PADDING

from speed.section import Bar, Options, Section

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "2"))
PATTERNS = (FAN_OUT, BURST, FAN_OUT_REAL, BURST_REAL, FAN_OUT_2KB)
COLUMNS = (
    *("receiver", "per CPU-s", "from–to", "of limit", "ours is"),
    *("at", "busy", "kernel", "a read", "memory"),
)
NOTE = (
    f"Events to all subscribers, {PADDING.frame_bytes}-byte frames with our own padding unless it says otherwise.\n"
    f"Per CPU-s: mean of {ROUNDS} rounds, from–to: the rounds, a read: frames that a read brought.\n"
    "CPU and memory are those of all of the receiver's processes; kernel: its share of the CPU."
)


def run(options: Options) -> Section:
    """Measure all installed receivers.

    BENCH_ONLY=k6,ours measures only those whose names contain one of these words, and BENCH_ROUNDS=1 only once.
    """
    section = Section("Receiving", COLUMNS, note=NOTE)
    everyone = receivers.everyone(options.scratch)
    only = [part.lower() for part in os.environ.get("BENCH_ONLY", "").split(",") if part]
    chosen = [one for one in everyone if not only or any(part in one.name.lower() for part in only)]
    section.missing = [one.missing for one in chosen if one.missing]
    rows, section.failures = measure.compare(
        [one for one in chosen if not one.missing],
        PATTERNS,
        ROUNDS,
        options.subscribers,
        options.seconds,
        options.scratch,
    )
    section.note += f"\n{measure.others_note(rows.values())}"
    ours, ours_tls = receivers.OURS.name, receivers.OURS_TLS.name

    def ratio(over: str, under: str, pattern: str = FAN_OUT.name) -> float | None:
        top, bottom = rows.get((over, pattern)), rows.get((under, pattern))
        return top.per_cpu_s / bottom.per_cpu_s if top and bottom else None

    for pattern in PATTERNS:
        heading = f"[b]{pattern.name}, {pattern.frames_per_write} a write[/b]"
        section.rows.append((heading, *[""] * (len(COLUMNS) - 1)))
        for one in chosen:
            if row := rows.get((one.name, pattern.name)):
                section.rows.append(
                    _shown(
                        row,
                        ratio(one.name, receivers.LIMIT, pattern.name),
                        ratio(ours, one.name, pattern.name),
                    )
                )
    section.bars = [
        Bar("receive: ours of the C limit", ratio(ours, receivers.LIMIT), 0.55),
        *(
            Bar(
                f"receive: {name} of the C limit, {pattern.name}",
                ratio(name, receivers.LIMIT, pattern.name),
                bound,
            )
            for name, pattern, bound in (
                (ours, FAN_OUT_REAL, 0.72),
                (ours, FAN_OUT_2KB, 0.72),
                (ours, BURST_REAL, 0.45),
                (ours_tls, FAN_OUT_REAL, 0.55),
                (ours_tls, FAN_OUT_2KB, 0.55),
                (ours_tls, BURST_REAL, 0.3),
            )
        ),
        Bar("receive: ours ÷ k6", ratio(ours, receivers.K6), 6),
        Bar("receive: ours ÷ k6, real payload", ratio(ours, receivers.K6, FAN_OUT_REAL.name), 8),
        Bar(
            "receive: ours ÷ Artillery, real payload", ratio(ours, receivers.ARTILLERY, FAN_OUT_REAL.name), 2
        ),
        Bar("receive: ours ÷ Locust with websocket-client", ratio(ours, receivers.LOCUST), 10),
        Bar("receive: ours over TLS ÷ ours plain", ratio(ours_tls, ours), 0.6),
    ]
    return section


def _shown(row: Row, of_limit: float | None, times: float | None) -> tuple[str, ...]:
    least, most = row.spread
    return (
        row.name,
        f"{row.per_cpu_s:,.0f}",
        f"{least / 1e3:,.1f}–{most / 1e3:,.1f}k",
        f"{of_limit:.2f}" if of_limit else "–",
        f"{times:.1f} ×" if times else "–",
        f"{row.rate:,.0f}/s",
        f"{row.busy:.0%}",
        f"{row.system:.0%}",
        row.shown_frames_per_read,
        f"{row.rss_bytes / 1e6:.0f} MB",
    )
