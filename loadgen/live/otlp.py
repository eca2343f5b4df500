"""Push the metrics of a run to an OpenTelemetry collector, as OTLP over HTTP.

OpenTelemetry's own environment variables set the endpoint, the headers and the interval (`OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_RESOURCE_ATTRIBUTES`, …). The values are sums over
workers' reports, but the SDK's instruments take only single measurements. So this module makes the data points itself
and passes them to the SDK's exporter. Needs the extra `live`.
"""

import logging
import os
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import gevent

from analysis import extras
from loadgen.console import say
from loadgen.exits import ExitCode, RunError
from loadgen.live.metrics import Kind, Metric, collect
from loadgen.live.state import Buckets, LiveState
from loadgen.measure.clock import now_ns
from loadgen.measure.running import BOUNDS_NS
from loadgen.version import VERSION

#: Default export interval in milliseconds: OpenTelemetry's default, a minute, is longer than most runs.
_INTERVAL_MS: Final = "5000"
_LAST_EXPORT_S: Final = 5.0

Current = Callable[[], LiveState | None]


class Exporter:
    """Send the metrics at an interval during runs, and when a run ends."""

    def __init__(self, current: Current) -> None:
        """Begin to export; ``current`` returns the state to send, or None between runs.

        Raises:
            RunError: the extra `live` is not installed, or an environment variable is invalid.
        """
        try:
            from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        except ImportError:
            raise RunError(extras.sentence("live", "--otel"), ExitCode.USAGE) from None
        self._current = current
        self._interval_s = _interval_s()
        #: The collector's scheme, host and port; the other parts of its URL may be secret.
        self.endpoint = _endpoint()
        logger = logging.getLogger("opentelemetry.exporter")
        # The SDK logs every failed attempt; `_export` reports a failure once.
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        self._exporter = OTLPMetricExporter()
        self._failed = False
        self._greenlet = gevent.spawn(self._loop)

    def close(self) -> None:
        """Send the last state and stop exporting."""
        self._greenlet.kill()
        self.flush()
        self._exporter.shutdown()

    def flush(self) -> None:
        """Send the current state; give up after `_LAST_EXPORT_S`."""
        with gevent.Timeout(_LAST_EXPORT_S, False):
            self._export()

    def _loop(self) -> None:
        while True:
            gevent.sleep(self._interval_s)
            self._export()

    def _export(self) -> None:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        state = self._current()
        if state is None or state.view is None:
            return
        # The export does not block other greenlets, because Locust has patched the sockets.
        result = self._exporter.export(metrics_data(state, now_ns()))
        failed = result is not MetricExportResult.SUCCESS
        if failed and not self._failed:
            say(f"OpenTelemetry: {self.endpoint} does not take the metrics; the run goes on without")
        self._failed = failed


def metrics_data(state: LiveState, at_ns: int) -> Any:
    """Return a run's metrics as the SDK's `MetricsData`."""
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    resource = Resource.create(
        {
            "service.name": os.environ.get("OTEL_SERVICE_NAME") or "loadgen",
            "service.version": VERSION,
            "service.instance.id": state.run,
            "loadgen.run": state.run,
            "loadgen.scenario": state.scenario,
        }
    )
    url = urlsplit(state.target)
    common: dict[str, str | int] = {"messaging.system": state.protocol.replace("-", "_")}
    if url.hostname:
        common["server.address"] = url.hostname
        common["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    metrics = [
        made
        for metric in collect(state, at_ns)
        if metric.otel is not None
        and metric.samples
        and (made := _metric(metric, state.begun_ns, at_ns, common))
    ]
    scope = ScopeMetrics(InstrumentationScope("loadgen", VERSION), metrics, "")
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(metric: Metric, begun_ns: int, at_ns: int, common: dict[str, str | int]) -> Any:
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        Gauge,
        Histogram,
        NumberDataPoint,
        Sum,
    )
    from opentelemetry.sdk.metrics.export import Metric as OtelMetric

    cumulative = AggregationTemporality.CUMULATIVE
    conventional = metric.otel is not None and metric.otel.startswith("messaging.")
    points: list[Any] = []
    for labels, value in metric.samples:
        attributes: dict[str, str | int] = {f"loadgen.{key}": text for key, text in labels.items()}
        if conventional:
            attributes |= {**common, **metric.otel_attributes}
            status = labels.get("status")
            if status in ("unsent", "unmade"):
                # Leave out events that were never sent: they are no operations of a messaging client.
                continue
            if status not in (None, "accepted"):
                attributes["error.type"] = str(status)
        if isinstance(value, Buckets):
            if value.min_ns is None:
                continue
            points.append(_histogram_point(value, attributes, begun_ns, at_ns))
        else:
            start_ns = begun_ns if metric.kind is Kind.COUNTER else at_ns
            points.append(NumberDataPoint(attributes, start_ns, at_ns, value))
    if metric.kind is Kind.COUNTER:
        data: Any = Sum(points, cumulative, True)
    elif metric.kind is Kind.HISTOGRAM:
        data = Histogram(points, cumulative)
    else:
        data = Gauge(points)
    assert metric.otel is not None
    return OtelMetric(metric.otel, metric.help, metric.unit, data) if points else None


def _histogram_point(buckets: Buckets, attributes: dict[str, str | int], begun_ns: int, at_ns: int) -> Any:
    from opentelemetry.sdk.metrics.export import HistogramDataPoint

    bounds_s = [bound_ns / 1e9 for bound_ns in BOUNDS_NS]
    assert buckets.min_ns is not None
    assert buckets.max_ns is not None
    return HistogramDataPoint(
        attributes, begun_ns, at_ns, sum(buckets.counts), buckets.sum_s, buckets.counts, bounds_s,
        min=buckets.min_ns / 1e9, max=buckets.max_ns / 1e9,
    )  # fmt: skip


def _interval_s() -> float:
    text = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL") or _INTERVAL_MS
    try:
        interval_ms = float(text)
    except ValueError:
        interval_ms = 0.0
    if not 100 <= interval_ms <= 3_600_000:
        raise RunError(
            f"OTEL_METRIC_EXPORT_INTERVAL is {text!a}: write milliseconds, from 100 to 3600000",
            ExitCode.USAGE,
        )
    return interval_ms / 1000


def _endpoint() -> str:
    """Return the collector's scheme, host and port; raises RunError if the variable is not an HTTP URL."""
    text = (
        os.environ.get("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
        or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
        or "http://localhost:4318"
    )
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        url, port = urlsplit(""), None
    if url.scheme not in ("http", "https") or not url.hostname:
        raise RunError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is not an http:// or https:// URL: write one such as http://localhost:4318",
            ExitCode.USAGE,
        )
    return f"{url.scheme}://{url.hostname}" + (f":{port}" if port else "")
