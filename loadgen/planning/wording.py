"""Write an estimate's sentences and table cells, shared by all output formats."""

from collections.abc import Iterator, Sequence

from analysis import pricing, text
from loadgen.config.units import format_duration
from loadgen.measure.surroundings import allowed_here
from loadgen.pacing import Arrival
from loadgen.planning.estimate import HOURS_A_MONTH, Estimate, this_kind
from loadgen.planning.fleet import MEMORY_SHARE
from loadgen.planning.machine import PLANNED_SHARE
from loadgen.planning.quotas import Use
from loadgen.planning.room import restrained

_LABELS = {
    "publish": "events published",
    "delivery": "events delivered",
    "probe_publish": "readiness probes published",
    "probe_delivery": "readiness probes delivered",
    "connect": "connects",
    "subscribe": "subscribes",
    "handler": "handler invocations",
    "keepalive": "keep-alives (if billed)",
}
#: Rows that are omitted if all of their numbers are zero.
_OPTIONAL = {"probe_publish", "probe_delivery", "handler"}

Row = tuple[str, ...]


def operations(estimate: Estimate) -> list[Row]:
    """Return a row per kind of operation: its label, then its number and its cost in $ per run, hour and month."""
    stretches = (estimate.cost.usage, estimate.hour, estimate.hour.times(HOURS_A_MONTH))
    bills = [usage.bill(estimate.prices) for usage in stretches]
    rows: list[Row] = []
    for name, label in _LABELS.items():
        # `_LABELS` has no entry for events of other publishers: their number cannot be predicted.
        numbers = [usage.operations[name] for usage in stretches]
        if name in _OPTIONAL and not any(numbers) and None not in numbers:
            continue
        cells = [
            cell
            for number, bill in zip(numbers, bills, strict=True)
            for cell in (_number(number), pricing.money(bill["usd"][name]))
        ]
        rows.append((label, *cells))
    minutes = [usage.connection_minutes for usage in stretches]
    rows.append(
        ("connection minutes", *_pairs(minutes, [bill["usd"]["connection_minutes"] for bill in bills]))
    )
    out = [None if usage.bytes_out is None else usage.bytes_out / 1e9 for usage in stretches]
    rows.append(("GB of events sent out", *_pairs(out, [bill["usd"]["data_out"] for bill in bills])))
    return rows


def totals(estimate: Estimate) -> Row:
    """Return the last row of the table of `operations`: number of billed operations and total cost."""
    cells = []
    for usage in (estimate.cost.usage, estimate.hour, estimate.hour.times(HOURS_A_MONTH)):
        bill = usage.bill(estimate.prices)
        known = usage.operations["delivery"] is not None
        billed = pricing.operations(usage.operations, estimate.prices.snapshot())
        cells += [_number(billed if known else None), pricing.money(bill["total"] if known else None)]
    return ("operations and their total", *cells)


def quotas(estimate: Estimate) -> list[Row]:
    """Return a row per quota: label, use at the peak, quota, share in use, raised on request or not, certainty."""
    rows: list[Row] = []
    for use in estimate.uses:
        raised = {True: "yes", False: "no", None: text.UNKNOWN}[use.quota.adjustable]
        rows.append(
            (
                use.label,
                ("≥ " if use.at_least else "") + _quantity(use.asked, use.unit),
                "none known" if use.quota.value is None else _quantity(use.quota.value, use.unit),
                ("≥ " if use.at_least and use.share is not None else "") + text.ratio(use.share),
                raised,
                use.quota.certainty,
            )
        )
    return rows


def heading(estimate: Estimate) -> str:
    """Return a one-line summary of the scenario."""
    totals = estimate.run.totals
    if totals.journeys:
        return (
            f"{totals.clients:,} clients, of which {totals.journeys:,} run tasks of users: what they connect, subscribe"
            f" and publish depends on their code, so most figures are unknown ({text.UNKNOWN}); a run takes"
            f" {estimate.run_s:,.1f} s plus the time until all subscriptions are ready"
        )
    return (
        f"{totals.clients:,} clients, {totals.websockets:,} connections, {totals.subscriptions:,} subscriptions;"
        f" a run takes {estimate.run_s:,.1f} s plus the time until all subscriptions are ready"
    )


def unpriced(estimate: Estimate) -> str:
    """Return the sentence that says why an estimate shows neither costs nor quotas."""
    return (
        f"the prices and account quotas of {estimate.unpriced} are unknown, so none are shown; the needs of this"
        " machine were calibrated with AppSync Events"
    )


def groups(estimate: Estimate) -> Iterator[str]:
    """Yield a sentence for each publishing group: its events, and their expected subscribers and deliveries."""
    for load in estimate.cost.loads:
        reached = (
            "an unknown number of subscribers (too many channels, or it depends on values of data)"
            if load.subscribers is None
            else f"{text.significant(load.subscribers)} subscribers on average:"
            f" {_number(load.deliveries)} expected deliveries"
        )
        yield f"{load.name}: {_number(load.events)} events, each to {reached}"


def binding(estimate: Estimate) -> Iterator[str]:
    """Yield sentences that say which quota binds first, and how far the scenario can grow until then."""
    tightest = estimate.tightest()
    if tightest is not None:
        use, factor = tightest
        share = text.ratio(1 / factor)
        yield (
            f"binds first: {use.label}, {share} of the quota at the peak"
            if factor >= 1
            else f"over a quota: {use.label}, {share} of it at the peak"
        )
    for direction, found in (
        ("publishing rates", estimate.binding(lambda use: use.rate_headroom)),
        ("clients of every group", estimate.binding(lambda use: use.clients_headroom)),
    ):
        yield f"{direction}: {_factor(found)}"


def machine(estimate: Estimate) -> Iterator[str]:
    """Yield sentences on what the scenario needs of this machine."""
    needs, kept = estimate.needs, estimate.calibration
    allowed = allowed_here()
    if (by := restrained(allowed)) is not None or allowed.memory_limited:
        cores = by or f"{text.cores(needs.cpus)} allowed"
        limit = (
            f"a memory limit of {text.size(allowed.memory_bytes)}"
            if allowed.memory_limited
            else "no memory limit"
        )
        yield f"{cores}, {limit}: the needs are compared with that"
    if kept is None:
        yield f"worker processes, memory: unknown: run `loadgen plan --calibrate` ({estimate.why_uncalibrated})"
    elif needs.idle_alone:
        yield (
            f"worker processes: none fits here: an idle one takes {kept.idle_cpu_share:.0%} of a core, and a process"
            f" may use {PLANNED_SHARE:.0%} of the {text.cores(needs.cpus)} allowed here"
        )
    elif needs.processes is None or needs.cpu_s_per_s is None:
        yield "worker processes, memory: unknown: the deliveries could not be computed"
    else:
        noun = "process" if needs.processes == 1 else "processes"
        core = "a core" if needs.cpus >= 1 else f"the {text.cores(needs.cpus)} allowed here"
        yield (
            f"{needs.processes} worker {noun} (--processes) at {PLANNED_SHARE:.0%} of {core} each, for"
            f" {text.significant(needs.cpu_s_per_s)} CPU-seconds a second at the peak; {text.cores(needs.cpus)} allowed"
            " here"
        )
        if needs.processes > needs.places:
            yield (
                f"that is more than the {text.cores(needs.cpus)} allowed here: raise the quota, or use more machines or"
                " containers (--master, --worker)"
            )
        yield f"{text.size(needs.rss_bytes)} of memory in these processes"
        memory = this_kind().memory_bytes
        if needs.rss_bytes is not None and memory is not None and needs.rss_bytes > MEMORY_SHARE * memory:
            yield (
                f"that is more than {MEMORY_SHARE:.0%} of the {text.size(memory)} allowed here: raise the memory limit,"
                " or use more machines or containers"
            )
        yield (
            f"by the calibration of {kept.measured_at}: {kept.cpu_s_per_delivery * 1e6:.1f} µs a delivery (at"
            f" {kept.deliveries_per_s:,.0f}/s), {kept.cpu_s_per_http_publish * 1e6:.0f} µs a publish by HTTP,"
            f" {kept.cpu_s_per_websocket_publish * 1e6:.0f} µs over WebSocket,"
            f" {kept.rss_bytes_per_subscriber / 1e3:.1f} KB a subscriber; without TLS, which costs more, and without"
            " the embedded server's share"
        )
    slow = f", up to {needs.sockets_most:,} if answers are slow" if needs.sockets_most > needs.sockets else ""
    limit = "no limit" if needs.open_files_limit is None else f"{needs.open_files_limit:,}"
    yield f"{needs.open_files:,} open files a process, of {limit} allowed"
    ports = "an unknown number" if needs.ports_limit is None else f"{needs.ports_limit:,}"
    yield f"{needs.sockets:,} local ports{slow}, of {ports} to one address of the target"


def takes_several(estimate: Estimate) -> bool:
    """Return true if the scenario needs more than this machine, or the user described other machines."""
    needs = estimate.needs
    ports = needs.ports_limit is not None and needs.sockets > needs.ports_limit
    return (
        ports
        or (needs.processes or 0) > needs.places
        or (estimate.fleet.machines_needed or 0) > 1
        or estimate.fleet.machines != this_kind()
    )


def remarks(estimate: Estimate) -> Iterator[str]:
    """Yield the assumptions behind the figures of an estimate."""
    prices = estimate.prices
    certainty = prices.prices.usd_per_million_operations.certainty
    yield (
        f"{prices.service}, prices of {prices.region} as of {prices.as_of or 'an unknown date'} ({certainty});"
        " without free tier and tax"
    )
    yield (
        f"an hour and a month ({HOURS_A_MONTH} h) are at the mean load of the measure phase, with all clients connected"
    )
    if not estimate.cost.spelled_out:
        yield "subscribers are averages over all seeds, not those that this seed draws"
    if not estimate.handlers:
        yield "no handlers are assumed: --handler publish, --handler subscribe count their invocations"
    if prices.operations.keepalive.counts == "unclear":
        yield "it is not clear if keep-alives are billed, so no total includes them"
    if prices.prices.usd_per_gb_out.value is None:
        yield "data transfer is not priced: its rate is not in the price file"
    yield "request tokens: it is assumed that each publish request, also over WebSocket, takes at least one"
    if estimate.run.phases.settle_ns is None:
        yield "one round of readiness probes is counted; a service that delivers late after a subscribe takes more"
    if every_ns := estimate.run.phases.echo_ns:
        yield (
            f"each worker also publishes an event to itself every {format_duration(every_ns)} (phases.echo): not"
            " counted here, since it depends on how many workers there are"
        )
    if any(publish.pace.arrival is Arrival.POISSON for publish in estimate.run.publishing.values()):
        yield "for Poisson arrival, quotas are compared with the mean rate, which single seconds exceed"


def _factor(found: tuple[Use, float] | None) -> str:
    if found is None:
        return "no known quota binds"
    use, factor = found
    if factor < 1:
        return f"over a quota already ({use.label})"
    return f"× {text.significant(factor)} until {use.label} binds"


def _pairs(numbers: Sequence[float | None], usd: Sequence[float | None]) -> list[str]:
    return [
        cell for pair in zip(numbers, usd, strict=True) for cell in (_number(pair[0]), pricing.money(pair[1]))
    ]


def _number(value: float | None) -> str:
    """Format an expected number, which may have a fraction; numbers from 100 on are rounded."""
    if value is None:
        return text.UNKNOWN
    if value >= 1e9:
        return f"{value / 1e9:,.2f} bn" if value < 1e12 else f"{value / 1e9:,.0f} bn"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else text.significant(value)


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return text.UNKNOWN
    match unit:
        case "/s":
            return text.rate(value) if value else "0/s"
        case "bytes":
            return f"{value:,.0f} B"
        case "s":
            return f"{_number(value)} s"
    return _number(value)
