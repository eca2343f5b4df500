"""Deliveries of MQTT over TCP per CPU-second: ours with recording, the C reader as the limit, and other clients."""

from receive import receivers

from speed.receive import section_of
from speed.section import Options, Section

NOTE = "mosquitto_sub has one connection a process, decodes nothing, and prints each message to a file."


def run(options: Options) -> Section:
    """Measure all installed receivers of MQTT."""
    everyone = receivers.of_mqtt(options.scratch)
    carried = "over TCP, quality of service 0"
    return section_of(options, "MQTT", carried, NOTE, everyone, receivers.OURS_MQTT.name)
