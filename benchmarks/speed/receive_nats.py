"""Compare receivers of NATS over WebSocket by deliveries per CPU second: ours, nats-py and, as the limit, one in C."""

from receive import receivers

from speed.receive import section_of
from speed.section import Options, Section

NOTE = "nats-py over TCP, as it is mostly used, has frames of the same size without a WebSocket header."


def run(options: Options) -> Section:
    """Measure all installed receivers of NATS."""
    everyone = receivers.of_nats(options.scratch)
    return section_of(options, "NATS", "over WebSocket", NOTE, everyone, receivers.OURS_NATS.name)
