"""Make a load from what a run sent and received, instead of what its scenario lets expect."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from analysis.figures.cost import counted_events, operations
from analysis.loading.run import Run
from loadgen.planning.services.load import Flow, Load, Sizes, Used
from loadgen.planning.services.span import ZERO

#: A unit that no event is larger than, so that each event counts once.
_WHOLE_EVENT = 1 << 40


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

    Deliveries are taken to have the sizes of the events. The month stays that of ``planned``, the load of the scenario:
    a run's ramp and drain are no part of it.
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
    """Return the load of a run's scenario with what its record counts in place of the expected numbers.

    ``planned`` is the load of the scenario, whose month stays. Readiness probes, echoes and events of other publishers
    count once each, as their sizes are not on record.
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
    """Counts of a run's events and deliveries by unit; each unit reads the record once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._known: dict[int, tuple[int, int, int | None]] = {}

    def counted(self, unit_bytes: int) -> tuple[int, int, int | None]:
        """Return what `analysis.figures.cost.counted_events` does."""
        if unit_bytes not in self._known:
            self._known[unit_bytes] = counted_events(self._run, unit_bytes)
        return self._known[unit_bytes]


@dataclass(frozen=True, slots=True)
class _Recorded:
    """The sizes of a run's events (``which`` 0) or of its deliveries (1), of which there are ``number``."""

    record: _Record
    which: int
    number: Fraction

    @property
    def mean(self) -> Fraction | None:
        """Mean size of a delivery in bytes, or None if unknown; zero for events, whose bytes cost nothing."""
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
