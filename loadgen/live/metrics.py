"""The live metrics of a run: one list for both Prometheus and OpenTelemetry.

Prometheus names follow the naming practices of Prometheus (base units, `_total`). OpenTelemetry names are those of its
semantic conventions for messaging clients (version 1.36 and later: `messaging.client.sent.messages` replaced
`…published.messages`) or, for metrics without such a name, begin with `loadgen.`. An unknown value has no sample.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from loadgen.live.judge import share_of_allowed
from loadgen.live.state import STATUSES, Buckets, LiveState, WorkerTotals
from loadgen.live.view import SILENCE_NS, View

#: The phases of a run, in order.
PHASES: Final = ("starting", "ramp", "ready", "warmup", "measure", "drain", "finishing")
VERDICTS: Final = ("valid", "degraded", "invalid")
_STATISTICS: Final = ("p50", "p90", "p99", "max")

Labels = Mapping[str, str]


class Kind(Enum):
    """The kind of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass
class Metric:
    """One metric and its samples: each is a number, or the buckets of a histogram in seconds."""

    name: str
    """The metric's name in Prometheus, without `_total`."""
    otel: str | None
    """The metric's name in OpenTelemetry, or None if an attribute of the resource replaces the metric there."""
    kind: Kind
    unit: str
    """The metric's unit in UCUM, as OpenTelemetry requires."""
    help: str
    samples: list[tuple[Labels, float | Buckets]] = field(default_factory=list)
    otel_attributes: Labels = field(default_factory=dict)
    """Attributes that OpenTelemetry's conventions require on each sample."""

    def add(self, value: float | Buckets | None, **labels: str) -> "Metric":
        """Add a sample, unless its value is None (unknown); return the metric."""
        if value is not None:
            self.samples.append((labels, value))
        return self


def collect(state: LiveState, at_ns: int) -> Iterator[Metric]:
    """Yield the metrics of a run at ``at_ns`` on the master's clock; yield none before its first second."""
    view = state.view
    if view is None:
        return
    scenario = state.scenario
    yield Metric("loadgen_run_info", None, Kind.GAUGE, "1", "The run that is on, always 1.").add(
        1, scenario=scenario, run=state.run, target=state.target
    )
    yield _stated(
        "loadgen_phase",
        "loadgen.phase",
        "1 for the phase that the run is in.",
        "phase",
        PHASES,
        view.phase,
        scenario,
    )
    yield _stated(
        "loadgen_verdict",
        "loadgen.verdict",
        "1 for the verdict on the generator so far; none is 1 before anything was measured.",
        "verdict",
        VERDICTS,
        state.verdict.kind,
        scenario,
    )
    yield from _load(state, view, at_ns)
    yield from _latencies(state, at_ns)
    yield from _connections(state, view)
    yield from _workers(state, view, at_ns)
    gates = Metric(
        "loadgen_gate_holds",
        "loadgen.gate.holds",
        Kind.GAUGE,
        "1",
        "Whether a gate holds so far (1) or not (0); no sample where that is known at the end only.",
    )
    for gate in state.gates:
        gates.add(
            None if gate["holds"] is None else float(gate["holds"]), scenario=scenario, gate=gate["text"]
        )
    yield gates


def _load(state: LiveState, view: View, at_ns: int) -> Iterator[Metric]:
    scenario = state.scenario
    offset_ns = None if view.warmup_ns is None else at_ns - view.warmup_ns
    yield Metric(
        "loadgen_due_events",
        "loadgen.events.due",
        Kind.COUNTER,
        "{message}",
        "Events that the schedule has asked for: the offered load.",
    ).add(None if offset_ns is None else state.due.events(offset_ns), scenario=scenario)
    yield Metric(
        "loadgen_due_deliveries",
        "loadgen.deliveries.due",
        Kind.COUNTER,
        "{message}",
        "Deliveries that the due events should bring, by the scenario's subscriptions.",
    ).add(None if offset_ns is None else state.due.deliveries(offset_ns), scenario=scenario)
    published = Metric(
        "loadgen_published_events",
        "messaging.client.sent.messages",
        Kind.COUNTER,
        "{message}",
        "Published events, by outcome; unsent: due, but given up before they were sent;"
        " unmade: the user's payload() could not make them.",
        otel_attributes={"messaging.operation.name": "publish", "messaging.operation.type": "send"},
    )
    deliveries = Metric(
        "loadgen_deliveries",
        "messaging.client.consumed.messages",
        Kind.COUNTER,
        "{message}",
        "Events that arrived at a subscription, duplicates included.",
        otel_attributes={"messaging.operation.name": "receive", "messaging.operation.type": "receive"},
    )
    for number, totals in state.workers.items():
        if not totals.heard_ns:
            continue
        for status in STATUSES:
            published.add(totals.statuses[status], scenario=scenario, worker=str(number), status=status)
        for group in state.groups:
            deliveries.add(totals.groups[group], scenario=scenario, worker=str(number), group=group)
    yield published
    yield deliveries
    yield Metric(
        "loadgen_measured_deliveries",
        "loadgen.deliveries.measured",
        Kind.COUNTER,
        "{message}",
        "Deliveries of events that were due in the measure phase, duplicates included.",
    ).add(state.loss.arrived_measured, scenario=scenario)
    yield Metric(
        "loadgen_measured_deliveries_expected",
        "loadgen.deliveries.measured.expected",
        Kind.COUNTER,
        "{message}",
        "Deliveries that the accepted events of the measure phase should bring.",
    ).add(state.loss.expected_measured, scenario=scenario)
    yield Metric(
        "loadgen_undelivered_ratio",
        "loadgen.deliveries.undelivered",
        Kind.GAUGE,
        "1",
        "Share of the expected deliveries of the measure phase, up to 3 s ago, that did not arrive.",
    ).add(state.loss.so_far(), scenario=scenario)


def _latencies(state: LiveState, at_ns: int) -> Iterator[Metric]:
    scenario = state.scenario
    yield Metric(
        "loadgen_fanout_latency_seconds",
        "loadgen.fanout.latency",
        Kind.HISTOGRAM,
        "s",
        "Headline latency of deliveries: arrival (kernel timestamp) minus the time at which the event was due.",
    ).add(state.latency, scenario=scenario)
    yield Metric(
        "loadgen_publish_duration_seconds",
        "messaging.client.operation.duration",
        Kind.HISTOGRAM,
        "s",
        "From sending a publish to its answer.",
        otel_attributes={"messaging.operation.name": "publish", "messaging.operation.type": "send"},
    ).add(state.publish, scenario=scenario)
    last = state.points[-1] if state.points else {}
    for name, otel, key, text in (
        (
            "loadgen_fanout_latency_recent_seconds",
            "loadgen.fanout.latency.recent",
            "latency_10s_ns",
            "Percentiles and maximum of the headline latency over the last 10 s, of merged HDR histograms.",
        ),
        (
            "loadgen_fanout_first_subscriber_recent_seconds",
            "loadgen.fanout.first_subscriber.recent",
            "first_10s_ns",
            "Of the latency at an event's first subscriber: percentiles over the last 10 s, of sampled events.",
        ),
        (
            "loadgen_fanout_last_subscriber_recent_seconds",
            "loadgen.fanout.last_subscriber.recent",
            "last_10s_ns",
            "Of the latency at an event's last subscriber: percentiles over the last 10 s, of sampled events.",
        ),
    ):
        metric = Metric(name, otel, Kind.GAUGE, "s", text)
        for statistic in _STATISTICS:
            value = (last.get(key) or {}).get(statistic)
            metric.add(None if value is None else value / 1e9, scenario=scenario, statistic=statistic)
        yield metric
    yield Metric(
        "loadgen_negative_latencies",
        "loadgen.fanout.latency.negative",
        Kind.COUNTER,
        "{message}",
        "Deliveries whose latency is negative, as clocks of two hosts can make it: counted, never dropped.",
    ).add(state.negative, scenario=scenario)


def _connections(state: LiveState, view: View) -> Iterator[Metric]:
    scenario = state.scenario
    totals = view.totals
    for name, otel, kind, unit, text, value in (
        ("loadgen_connections", "loadgen.connections", Kind.GAUGE, "{connection}",
         "WebSocket connections that are up.", totals["connected"]),
        ("loadgen_connections_planned", "loadgen.connections.planned", Kind.GAUGE, "{connection}",
         "WebSocket connections that the scenario has.", view.websockets),
        ("loadgen_subscriptions_ready", "loadgen.subscriptions.ready", Kind.GAUGE, "{subscription}",
         "Subscriptions that were proven to deliver.", totals["ready"]),
        ("loadgen_subscriptions_planned", "loadgen.subscriptions.planned", Kind.GAUGE, "{subscription}",
         "Subscriptions that the scenario has.", view.subscriptions),
        ("loadgen_connections_opened", "loadgen.connections.opened", Kind.COUNTER, "{connection}",
         "Connections that were opened.", totals["opened"]),
        ("loadgen_connections_lost", "loadgen.connections.lost", Kind.COUNTER, "{connection}",
         "Connections that were lost.", totals["lost_connections"]),
        ("loadgen_connections_failed", "loadgen.connections.failed", Kind.COUNTER, "{connection}",
         "Attempts to connect or subscribe that failed.", totals["failed"]),
        ("loadgen_complaints", "loadgen.complaints", Kind.COUNTER, "{complaint}",
         "What clients complained of; the texts are in the web UI.", sum(count for _, count in view.complaints)),
    ):  # fmt: skip
        yield Metric(name, otel, kind, unit, text).add(value, scenario=scenario)


def _workers(state: LiveState, view: View, at_ns: int) -> Iterator[Metric]:
    rows = [
        (number, totals)
        for number, totals in state.workers.items()
        if totals.health is not None and number not in view.gone and at_ns - totals.heard_ns < SILENCE_NS
    ]
    for name, otel, unit, text, take in (
        ("loadgen_receive_queue_delay_max_seconds", "loadgen.worker.receive_queue_delay.max", "s",
         "Longest wait of a delivery between the kernel and the reader, of the last second.", _queue),
        ("loadgen_schedule_lateness_max_seconds", "loadgen.worker.schedule_lateness.max", "s",
         "Latest publish by the generator's own doing, of the last second.", _late),
        ("loadgen_event_loop_lag_max_seconds", "loadgen.worker.event_loop_lag.max", "s",
         "Longest time in which the worker's event loop stood still, of the last second.", _lag),
        ("loadgen_worker_cpu_ratio", "loadgen.worker.cpu.utilization", "1",
         "Share of its CPU that the receive thread, or all other threads, used in the last second: the greater.", _cpu),
        ("loadgen_worker_gc_seconds", "loadgen.worker.gc", "s",
         "Time in garbage collection in the last second.", _gc),
        ("loadgen_worker_resident_memory_bytes", "loadgen.worker.memory.usage", "By",
         "Resident memory of the worker.", _memory),
    ):  # fmt: skip
        metric = Metric(name, otel, Kind.GAUGE, unit, text)
        for number, totals in rows:
            metric.add(take(totals), scenario=state.scenario, worker=str(number))
        yield metric
    heard = Metric(
        "loadgen_worker_last_report_timestamp_seconds",
        "loadgen.worker.last_report",
        Kind.GAUGE,
        "s",
        "When the worker last reported, in Unix time.",
    )
    for number, totals in state.workers.items():
        heard.add(
            totals.heard_ns / 1e9 if totals.heard_ns else None, scenario=state.scenario, worker=str(number)
        )
    yield heard


def _stated(
    name: str, otel: str, text: str, label: str, values: tuple[str, ...], value: str | None, scenario: str
) -> Metric:
    metric = Metric(name, otel, Kind.GAUGE, "1", text)
    for each in values:
        metric.add(float(each == value), **{"scenario": scenario, label: each})
    return metric


def _seconds(totals: WorkerTotals, column: str) -> float | None:
    value = None if totals.health is None else totals.health[column]
    return None if value is None else value / 1e9


def _queue(totals: WorkerTotals) -> float | None:
    return _seconds(totals, "queue_max_ns")


def _late(totals: WorkerTotals) -> float | None:
    return _seconds(totals, "late_max_ns")


def _lag(totals: WorkerTotals) -> float | None:
    return _seconds(totals, "lag_max_ns")


def _gc(totals: WorkerTotals) -> float | None:
    return _seconds(totals, "gc_ns")


def _cpu(totals: WorkerTotals) -> float | None:
    assert totals.health is not None
    return share_of_allowed(totals.health)


def _memory(totals: WorkerTotals) -> float | None:
    assert totals.health is not None
    return float(totals.health["rss_bytes"])
