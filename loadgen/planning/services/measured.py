"""Make a load from the events and deliveries that a run counted, instead of from the scenario's expected numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from analysis.figures.cost import counted_events, operations
from analysis.loading.run import Run
from loadgen.planning.services.load import Load
from loadgen.planning.services.span import ZERO
from loadgen.planning.services.used import Flow, Sizes, Used

#: Unit of metering (bytes) that is larger than any event, so that each event counts as one unit.
_WHOLE_EVENT = 1 << 40


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of a run, not in billing units: each event counts once, whatever its size."""

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

    ``planned`` is the scenario's expected load: its numbers for the run are replaced, its numbers for a month, which
    leave out the run's ramp and drain, are kept. Deliveries are assumed to have the same sizes as the events.
    """
    whole = sum(counts.event_sizes.values())
    sizes = (
        Sizes(tuple((Fraction(size), Fraction(n, whole)) for size, n in sorted(counts.event_sizes.items())))
        if whole
        else Sizes.of(0)
    )
    return _measured(
        planned,
        (Flow(Fraction(counts.events), Fraction(counts.deliveries), sizes, counts.over_http),),
        Fraction(counts.connects),
        Fraction(counts.subscribes),
        Fraction(counts.connection_minutes),
        Fraction(counts.seconds) / 3600,
    )


def load_of_record(run: Run, planned: Load) -> Load:
    """Return the load of a run's scenario, with the numbers of events and deliveries taken from the run's record.

    ``planned`` is the scenario's expected load: its numbers for the run are replaced, its numbers for a month are kept.
    Readiness probes, echoes and events of other publishers count once each, as their sizes are not on record.
    """
    counted, minutes, _ = operations(run, _WHOLE_EVENT, 60)
    record = _Record(run)
    events, deliveries = (Fraction(counted[name] or 0) for name in ("publish", "delivery"))
    other = [counted[name] for name in ("foreign", "probe_delivery")]
    probes = counted["probe_publish"]
    over_http = all(stream.over_http for stream in planned.streams)
    flows = (
        Flow(events, ZERO, _Recorded(record, 0, events), over_http),
        Flow(ZERO, deliveries, _Recorded(record, 1, deliveries), over_http),
        Flow(
            ZERO if probes is None else Fraction(probes),
            None if None in other or probes is None else sum((Fraction(each or 0) for each in other), ZERO),
            Sizes.of(0),
        ),
    )
    ends = [(start_ns, end_ns) for start_ns, end_ns in run.phases.values() if end_ns is not None]
    lasting_ns = max((end for _, end in ends), default=0) - min((start for start, _ in ends), default=0)
    return _measured(
        planned,
        flows,
        Fraction(counted["connect"] or 0),
        Fraction(counted["subscribe"] or 0),
        Fraction(minutes),
        Fraction(max(lasting_ns, 1), 3600 * 10**9),
    )


def _measured(
    planned: Load,
    flows: tuple[Flow, ...],
    connects: Fraction,
    subscribes: Fraction,
    connection_minutes: Fraction,
    hours: Fraction,
) -> Load:
    run = Used(
        flows=flows,
        connects=connects,
        subscribes=subscribes,
        connection_minutes=connection_minutes,
        channels=planned.channels,
        connections=planned.connections,
        users=planned.clients,
        hours=hours,
        days=Fraction(1),
        peak_messages_per_s=planned.peak_messages_per_s(),
        # The record of a run does not say how often a handler was called.
        handlers=None if planned.handlers else ZERO,
    )
    return replace(planned, run=run)


class _Record:
    """Counts a run's events and deliveries in units of a given size, and caches the counts for each unit size."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[int, tuple[int, int, int | None]] = {}

    def counted(self, unit_bytes: int) -> tuple[int, int, int | None]:
        """Return the result of `analysis.figures.cost.counted_events`, from a cache if possible."""
        if unit_bytes not in self._known:
            self._known[unit_bytes] = counted_events(self._run, unit_bytes)
        return self._known[unit_bytes]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Recorded sizes of a run's events (``which`` is 0) or deliveries (``which`` is 1); ``number`` is their count."""

    record: _Record
    which: int
    number: Fraction

    @property
    def mean(self) -> Fraction | None:
        """Mean size of a delivery in bytes, or None if unknown; 0 for published events, whose bytes cost nothing."""
        if not self.number or not self.which:
            return ZERO
        bytes_out = self.record.counted(_WHOLE_EVENT)[2]
        return None if bytes_out is None else Fraction(bytes_out) / self.number

    def units(self, unit_bytes: Fraction | None) -> Fraction:
        """Return the mean number of units per event or delivery."""
        if unit_bytes is None or not self.number:
            return Fraction(1)
        counted = self.record.counted(round(unit_bytes))
        return Fraction(counted[0] if self.which == 0 else counted[1]) / self.number
