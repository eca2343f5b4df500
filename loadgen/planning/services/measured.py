"""Make a load from what a run was counted to send and receive, instead of what its scenario lets expect."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from loadgen.planning.services.load import Flow, Load, Sizes, Used
from loadgen.planning.services.span import ZERO


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a run; each event counts once, whatever its size."""

    events: int
    deliveries: int
    connects: int
    subscribes: int
    connection_minutes: float
    seconds: float
    """Time from the first connect to the last close."""
    event_sizes: Mapping[int, int]
    """Number of events by size in bytes; empty if there was none."""
    over_http: bool = True


def load_of_counts(counts: Counts, planned: Load) -> Load:
    """Return the load of a run's scenario with the run's counts in place of the expected ones.

    The month stays that of ``planned``, the load of the scenario: a run's ramp and drain are no part of it.
    """
    whole = sum(counts.event_sizes.values())
    sizes = (
        Sizes(tuple((Fraction(size), Fraction(n, whole)) for size, n in sorted(counts.event_sizes.items())))
        if whole
        else Sizes.of(0)
    )
    run = Used(
        flows=(Flow(Fraction(counts.events), Fraction(counts.deliveries), sizes, counts.over_http),),
        connects=Fraction(counts.connects),
        subscribes=Fraction(counts.subscribes),
        connection_minutes=Fraction(counts.connection_minutes),
        channels=planned.channels,
        connections=planned.connections,
        users=planned.clients,
        hours=Fraction(counts.seconds) / 3600,
        days=Fraction(1),
        peak_messages_per_s=planned.peak_messages_per_s(),
        handlers=None if planned.handlers else ZERO,
    )
    return replace(planned, run=run)
