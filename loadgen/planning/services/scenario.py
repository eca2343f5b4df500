"""Make a load from a resolved scenario, so that its costs at several services can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from loadgen.planning import operations, replies, returns
from loadgen.planning.fanout import GroupLoad, due
from loadgen.planning.operations import Handler
from loadgen.planning.peaks import moments, most_in_a_second
from loadgen.planning.prices import load_prices
from loadgen.planning.services.load import Load, Month, Stream
from loadgen.planning.services.span import ZERO
from loadgen.planning.services.used import Flow, Sizes, Used
from loadgen.resolve import ResolvedRun
from loadgen.resolve.publishing import Publishing

_NS_PER_S = 1_000_000_000


def load_of(run: ResolvedRun, month: Month | None = None, handlers: frozenset[Handler] = frozenset()) -> Load:
    """Return the load of a resolved scenario: a month at the mean load of its measure phase, and one run.

    The number of channels is that of the distinct patterns in all subscriptions. If user code decides what clients do,
    only the length of the month is known.
    """
    planned, seen, loads = replies.planned(run)
    month = month or Month()
    patterns = None if seen is None else seen.patterns
    totals = planned.totals
    connecting = [group for group in planned.groups if group.holds_connections]
    again = returns.of_hour(planned)
    load = Load(
        name=planned.name,
        connections=Fraction(totals.websockets),
        clients=Fraction(totals.clients),
        subscriptions=Fraction(totals.subscriptions),
        streams=tuple(_streams(planned, loads)),
        channels=None if patterns is None else Fraction(len(patterns)),
        subscriptions_most=Fraction(max(len(group.subscribe) for group in planned.groups)),
        month=month,
        connects_per_s=sum((Fraction(group.connects_per_s) for group in connecting), ZERO),
        subscribes_per_s=sum(
            (Fraction(group.connects_per_s) * len(group.subscribe) for group in planned.groups), ZERO
        ),
        churn_connects_per_s=Fraction(again.connects) / 3600,
        churn_subscribes_per_s=Fraction(again.subscribes) / 3600,
        handlers=frozenset(handler.value for handler in handlers),
        known=not planned.journeys,
    )
    return replace(load, run=_run(planned, load, loads, patterns, handlers))


def _streams(run: ResolvedRun, loads: Sequence[GroupLoad]) -> list[Stream]:
    corners = moments(run)
    phases = run.phases
    found = []
    for load in loads:
        publish = run.publishing[load.name]
        pace = publish.pace
        measured = due(pace, phases.publishing_ns) - due(pace, phases.warmup_ns)
        peaks = [most_in_a_second(pace, corner.requests_per_s[load.name]) for corner in corners]
        count = run.group(load.name).count
        busiest = max(
            (most_in_a_second(pace, corner.requests_per_s[load.name] / count) for corner in corners),
            default=0.0,
        )
        found.append(
            Stream(
                name=load.name,
                events_per_s=_number(measured) * publish.batch * _NS_PER_S / phases.measure_ns,
                peaks=tuple(_number(peak) * publish.batch for peak in peaks),
                fan_out=None if load.subscribers is None else _number(load.subscribers),
                sizes=_sizes(publish),
                most_bytes=Fraction(publish.most_bytes),
                over_http=publish.over_http,
                batch=publish.batch,
                each_connection_per_s=ZERO if publish.over_http else _number(busiest),
                with_clients=publish.each_client,
            )
        )
    return found


def _number(value: float) -> Fraction:
    # Use a small denominator, because arithmetic with such fractions is quick. Nothing is lost: a float is exact to 15
    # digits at most.
    return Fraction(value).limit_denominator(10**9)


def _sizes(publish: Publishing) -> Sizes:
    if not publish.sizes:
        return Sizes.of(publish.payload_bytes)
    shares = [(_number(each.bytes), _number(each.share)) for each in publish.sizes]
    whole = sum((share for _, share in shares), ZERO)
    return Sizes(tuple((size, share / whole) for size, share in shares))


def _run(
    run: ResolvedRun,
    load: Load,
    loads: Sequence[GroupLoad],
    patterns: Mapping[str, float] | None,
    handlers: frozenset[Handler],
) -> Used:
    usage = operations.of_run(run, loads, patterns, load_prices(), handlers)
    counted = usage.operations
    phases = run.phases
    seconds = Fraction(run.totals.ramp_ns + phases.publishing_ns + phases.drain_ns, _NS_PER_S)
    streams = {stream.name: stream for stream in load.streams}
    flows = [
        Flow(
            _number(each.events),
            None if each.deliveries is None else _number(each.deliveries),
            streams[each.name].sizes,
            streams[each.name].over_http,
            streams[each.name].batch,
        )
        for each in loads
    ]
    probes = counted["probe_publish"]
    if probes:
        # Readiness probes are small: one unit each, and their bytes are not counted.
        heard = counted["probe_delivery"]
        flows.append(Flow(_number(probes), None if heard is None else _number(heard), Sizes.of(0)))
    return Used(
        flows=tuple(flows),
        connects=_or_none(counted["connect"]),
        subscribes=_or_none(counted["subscribe"]),
        connection_minutes=_or_none(usage.connection_minutes),
        channels=load.channels,
        connections=load.connections,
        users=load.clients,
        hours=seconds / 3600,
        days=Fraction(1),
        peak_messages_per_s=load.peak_messages_per_s(),
        handlers=_or_none(counted["handler"]),
        known=load.known,
    )


def _or_none(value: float | None) -> Fraction | None:
    return None if value is None else _number(value)
