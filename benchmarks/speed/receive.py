"""Deliveries per CPU-second of the receive path: ours with recording, the C reader as the limit, and other tools."""

from collections.abc import Sequence
from dataclasses import dataclass

from receive import measure, receivers
from receive.measure import BURST, BURST_REAL, FAN_OUT, FAN_OUT_2KB, FAN_OUT_REAL, Pattern, Row
from receive.payloads import PADDING
from receive.receivers import Receiver

from speed.section import OWN, REAL, Bar, Figure, Options, Section

PATTERNS = (FAN_OUT, BURST, FAN_OUT_REAL, BURST_REAL, FAN_OUT_2KB)
COLUMNS = (
    *("receiver", "per CPU-s", "from–to", "of limit", "ours is"),
    *("at", "busy", "kernel", "a read", "memory"),
)
NOTE = (
    f"Events to all subscribers, {PADDING.frame_bytes}-byte frames with our own padding unless it says otherwise.\n"
    "Per CPU-s: mean, from–to: all turns (other tools: one), a read: frames that a read brought.\n"
    "Of limit: ours in turns with the C reader, both at the rate of ours; other tools by the C reader's own row.\n"
    "Ours records every delivery; the other tools decode each event and keep its latency. All have the same sender.\n"
    "CPU and memory are those of all of the receiver's processes; kernel: its share of the CPU."
)


@dataclass(frozen=True)
class Measured:
    """The rows of receivers by (name, pattern)."""

    rows: dict[tuple[str, str], Row]

    def ratio(self, over: str, under: str, pattern: Pattern = FAN_OUT) -> float | None:
        """Return the frames per CPU-second of one receiver divided by those of another, or None if unknown.

        If the second is the limit and both were measured in turns, it is the ratio of those turns.
        """
        top, bottom = self.rows.get((over, pattern.name)), self.rows.get((under, pattern.name))
        if under == receivers.LIMIT and top and top.of_limit is not None:
            return top.of_limit
        return top.per_cpu_s / bottom.per_cpu_s if top and bottom else None


def run(options: Options) -> Section:
    """Measure all installed receivers of AppSync Events, and those that speak Socket.IO."""
    section = Section("Receiving: AppSync Events over WebSocket", COLUMNS, note=NOTE)
    ours, ours_tls = receivers.OURS.name, receivers.OURS_TLS.name
    ratio = measured(options, section, "receive", receivers.everyone(options.scratch), PATTERNS, ours).ratio
    limit = receivers.LIMIT
    section.bars = [
        Bar("receive: ours of the C limit", ratio(ours, limit), 0.55),
        *(
            Bar(f"receive: {name} of the C limit, {pattern.name}", ratio(name, limit, pattern), bound)
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
        Bar("receive: ours ÷ k6, real payload", ratio(ours, receivers.K6, FAN_OUT_REAL), 8),
        Bar("receive: ours ÷ Artillery, real payload", ratio(ours, receivers.ARTILLERY, FAN_OUT_REAL), 2),
        Bar("receive: ours ÷ Locust with websocket-client", ratio(ours, receivers.LOCUST), 10),
        Bar("receive: ours over TLS ÷ ours plain", ratio(ours_tls, ours), 0.6),
    ]
    return section


def section_of(
    options: Options, service: str, carried: str, note: str, everyone: Sequence[Receiver], ours: str
) -> Section:
    """Measure the receivers of another service, in fan-out and bursts; the target applies to the receiver ``ours``."""
    section = Section(f"Receiving: {service} {carried}", COLUMNS, note=f"{NOTE}\n{note}")
    patterns = (FAN_OUT, BURST, FAN_OUT_REAL, BURST_REAL)
    ratio = measured(options, section, f"receive {service}", everyone, patterns, ours).ratio
    bar = f"receive {service}: ours of the C limit, real payload"
    section.bars = [Bar(bar, ratio(ours, receivers.LIMIT, FAN_OUT_REAL), 0.6)]
    return section


def measured(
    options: Options,
    section: Section,
    what: str,
    everyone: Sequence[Receiver],
    patterns: Sequence[Pattern],
    ours: str,
) -> Measured:
    """Measure receivers, put their figures into a section, and compare the receiver ``ours`` with the others."""
    chosen = [one for one in everyone if options.chooses(one.name)]
    section.missing = [f"{one.name}: {one.missing}" for one in chosen if one.missing]
    compared = measure.compare(
        [one for one in chosen if not one.missing],
        patterns,
        options.rounds,
        options.subscribers,
        options.seconds,
        options.scratch,
        next((one for one in chosen if one.name == receivers.LIMIT and not one.missing), None),
    )
    section.failures, section.interrupted = compared.wrong, compared.interrupted
    section.note += f"\n{measure.others_note(compared.rows.values())}"
    found = Measured(compared.rows)
    for pattern in patterns:
        of_pattern = [(one, row) for one in chosen if (row := compared.rows.get((one.name, pattern.name)))]
        if of_pattern:
            heading = f"[b]{pattern.name}, {pattern.frames_per_write} a write[/b]"
            section.rows.append((heading, *[""] * (len(COLUMNS) - 1)))
        for one, row in of_pattern:
            of_limit = found.ratio(one.name, receivers.LIMIT, pattern)
            section.rows.append(_shown(row, of_limit, found.ratio(ours, one.name, pattern)))
            section.figures.append(_figure(what, one, row))
    return found


def _figure(what: str, receiver: Receiver, row: Row) -> Figure:
    pattern = row.pattern
    size = f"{pattern.payload.frame_bytes} bytes" if pattern.payload.frame_bytes < 1_000 else "2 KB"
    way = "fan-out" if pattern.frames_per_write == 1 else f"bursts of {pattern.frames_per_write}"
    return Figure(
        what=f"{what}, {way}, {size}",
        tool=receiver.name,
        payload=OWN if pattern.payload.own_padding else REAL,
        value=row.per_cpu_s,
        unit="frames per CPU-s",
        role="limit" if receiver.name == receivers.LIMIT else "" if receiver.peer else "ours",
        of_limit=row.of_limit,
        each=tuple(1 / phase.cpu_per_frame_s for phase in row.phases),
        details={
            "service": receiver.service.title,
            "frames_per_s": row.rate,
            "busy": row.busy,
            "frames_per_read": row.shown_frames_per_read,
            "rss_bytes": row.rss_bytes,
            "others": row.others,
        },
    )


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
