"""The metrics of a run in Prometheus' text format, and an endpoint of our own that serves them.

`prometheus_client` writes the format, OpenMetrics for whoever asks for it; Locust's web UI serves the same at /metrics.
"""

from collections.abc import Callable, Iterable

from gevent.pywsgi import WSGIServer
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from loadgen.live.metrics import Kind, Metric, collect
from loadgen.live.state import Buckets, LiveState
from loadgen.measure.clock import now_ns
from loadgen.measure.live import BOUNDS_NS
from loadgen.run.exits import ExitCode, RunError, why

#: The run that is on, or was last; None: none was.
Current = Callable[[], LiveState | None]


class RunCollector(Collector):
    """Reads the state when Prometheus asks."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def collect(self) -> Iterable[Family]:
        """Yield the families; none before the first run."""
        state = self._current()
        if state is not None:
            for metric in collect(state, now_ns()):
                if metric.samples:
                    yield family(metric)


def family(metric: Metric) -> Family:
    """Return a metric as the library has it."""
    labels = list(metric.samples[0][0])
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=labels)
        for values, buckets in metric.samples:
            assert isinstance(buckets, Buckets)
            histogram.add_metric(list(values.values()), _cumulated(buckets), buckets.sum_s)
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    made = kind(metric.name, metric.help, labels=labels)
    for values, number in metric.samples:
        assert not isinstance(number, Buckets)
        made.add_metric(list(values.values()), number)
    return made


def registry(current: Current) -> CollectorRegistry:
    """Return a registry with the run's metrics and nothing else."""
    made = CollectorRegistry(auto_describe=False)
    made.register(RunCollector(current))
    return made


def address(text: str) -> tuple[str, int]:
    """Read `[HOST:]PORT`; without a host it is the loopback interface.

    Raises:
        RunError: it is none; exit code 2.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise RunError(
            f"--prometheus: {text!a} is no [HOST:]PORT: write a port such as 9464, or an address to listen on such"
            " as 0.0.0.0:9464",
            ExitCode.USAGE,
        )
    return host, int(port)


class Endpoint:
    """Serves /metrics on an address of its own."""

    def __init__(self, text: str, current: Current) -> None:
        """Bind the address; raises RunError where it is none or cannot be had."""
        host, port = address(text)
        self._server = WSGIServer((host, port), make_wsgi_app(registry(current)), log=None, error_log=None)
        try:
            self._server.start()
        except OSError as error:
            raise RunError(
                f"--prometheus: cannot listen on {host} port {port} ({why(error)}): choose another address,"
                " or stop what uses it",
                ExitCode.USAGE,
            ) from None
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{port}/metrics"

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(timeout=1)


def _cumulated(buckets: Buckets) -> list[tuple[str, float]]:
    """Return (le, count of values up to it) for each bound, the last without one."""
    total, pairs = 0, []
    for bound_ns, count in zip((*BOUNDS_NS, None), buckets.counts, strict=True):
        total += count
        pairs.append(("+Inf" if bound_ns is None else repr(bound_ns / 1e9), float(total)))
    return pairs
