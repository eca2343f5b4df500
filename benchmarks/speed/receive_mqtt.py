"""Deliveries of MQTT over TCP per CPU-second: ours with recording, the C reader as the limit, and other clients."""

from receive import receivers
from receive.measure import BURST, BURST_REAL, FAN_OUT, FAN_OUT_REAL

from speed.receive import COLUMNS, NOTE, measured
from speed.section import Bar, Options, Section

PATTERNS = (FAN_OUT, BURST, FAN_OUT_REAL, BURST_REAL)


def run(options: Options) -> Section:
    """Measure all installed receivers of MQTT."""
    note = f"{NOTE}\nmosquitto_sub has one connection a process, decodes nothing, and prints each message to a file."
    section = Section("Receiving: MQTT over TCP, quality of service 0", COLUMNS, note=note)
    ours = receivers.OURS_MQTT.name
    ratio = measured(
        options, section, "receive MQTT", receivers.of_mqtt(options.scratch), PATTERNS, ours
    ).ratio
    section.bars = [
        Bar(
            "receive MQTT: ours of the C limit, real payload", ratio(ours, receivers.LIMIT, FAN_OUT_REAL), 0.6
        )
    ]
    return section
