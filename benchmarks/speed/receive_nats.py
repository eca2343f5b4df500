"""Deliveries of NATS over WebSocket per CPU-second: ours with recording, the C reader as the limit, and nats-py."""

from receive import receivers
from receive.measure import BURST, BURST_REAL, FAN_OUT, FAN_OUT_REAL

from speed.receive import COLUMNS, NOTE, measured
from speed.section import Bar, Options, Section

PATTERNS = (FAN_OUT, BURST, FAN_OUT_REAL, BURST_REAL)


def run(options: Options) -> Section:
    """Measure all installed receivers of NATS."""
    note = f"{NOTE}\nnats-py over TCP, as it is mostly used, has frames of the same size without a WebSocket header."
    section = Section("Receiving: NATS over WebSocket", COLUMNS, note=note)
    ours = receivers.OURS_NATS.name
    ratio = measured(
        options, section, "receive NATS", receivers.of_nats(options.scratch), PATTERNS, ours
    ).ratio
    section.bars = [
        Bar(
            "receive NATS: ours of the C limit, real payload", ratio(ours, receivers.LIMIT, FAN_OUT_REAL), 0.6
        )
    ]
    return section
