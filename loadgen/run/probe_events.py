"""Make the content of readiness probes.

A probe resembles the run's events, so that a service's handlers let it pass.
"""

from collections.abc import Mapping
from typing import Final

from loadgen.measure.stamp import encode_event
from loadgen.payloads.stamping import Body, Event, Stamping
from loadgen.resolve import ResolvedRun

_PROBE_BYTES: Final = 160


class ProbeEvents:
    """Makes readiness probes.

    ``publisher`` is the publisher number in each probe. It is negative, so that a receiver can distinguish a probe from
    an event of the scenario, whose publishers have numbers from 0 on.
    """

    def __init__(
        self, stamping: Stamping, token: int, publisher: int, run: ResolvedRun | None = None
    ) -> None:
        """Give probes bodies like the run's events, or padding if ``run`` is None or its events are padding."""
        self._stamping, self._token, self._publisher = stamping, token, publisher
        #: Example bodies of the run's events, by the namespace of their channel. Probes in any other namespace use the
        #: first.
        self._bodies: Mapping[str, Body] = {} if run is None else _bodies(stamping, run)

    def event(self, channel: str, sequence: int, at_ns: int) -> Event:
        """Return a probe event for a channel."""
        if self._stamping.plain and not self._bodies:
            return encode_event(self._token, self._publisher, sequence, at_ns, at_ns, _PROBE_BYTES)
        body = self._bodies.get(_namespace(channel)) or next(iter(self._bodies.values()), None)
        if body is None:
            body = self._stamping.padded(_PROBE_BYTES)
        return self._stamping.event(self._token, self._publisher, sequence, at_ns, at_ns, body)


def _bodies(stamping: Stamping, run: ResolvedRun) -> dict[str, Body]:
    found: dict[str, Body] = {}
    for publishing in run.publishing.values():
        if publishing.example:
            found.setdefault(_namespace(publishing.channel), stamping.example(publishing.example))
    return found


def _namespace(channel: str) -> str:
    return channel.strip("/").split("/")[0]
