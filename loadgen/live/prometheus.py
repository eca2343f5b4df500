"""Serve the metrics of a run in Prometheus' text format, on a separate port.

`prometheus_client` writes the format, or OpenMetrics on request. Locust's web UI serves the same at /metrics.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from loadgen.exits import ExitCode, RunError, why
from loadgen.live.entry import Application, Entry, Hosts, StartResponse
from loadgen.live.metrics import Kind, Metric, collect
from loadgen.live.state import Buckets, LiveState
from loadgen.measure.clock import now_ns
from loadgen.measure.running import BOUNDS_NS

#: Returns the state of the current or last run, or None if there was none.
Current = Callable[[], LiveState | None]
#: Time limits for one request with its answer, and for the pause before the next request.
_REQUEST_S: Final = 10.0
_PAUSE_S: Final = 120.0
#: Maximum number of simultaneous connections; further ones wait in the kernel.
_CONNECTIONS_MAX: Final = 64


class RunCollector(Collector):
    """Read the live state whenever Prometheus scrapes."""

    def __init__(self, current: Current) -> None:
        self._current = current

    def collect(self) -> Iterable[Family]:
        """Yield the metric families; yield none before the first run."""
        state = self._current()
        if state is not None:
            for metric in collect(state, now_ns()):
                if metric.samples:
                    yield family(metric)


def family(metric: Metric) -> Family:
    """Convert a metric to a metric family of `prometheus_client`; the metric must have samples."""
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
    """Return a registry with only the run's metrics."""
    made = CollectorRegistry(auto_describe=False)
    made.register(RunCollector(current))
    return made


def address(text: str) -> tuple[str, int]:
    """Parse `[HOST:]PORT`; without a host it is 127.0.0.1.

    Raises:
        RunError: the text is not a valid address; exit code 2.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise RunError(
            f"--prometheus: {text!a} is not [HOST:]PORT: write a port such as 9464, or an address to listen on such"
            " as 0.0.0.0:9464",
            ExitCode.USAGE,
        )
    return host, int(port)


class Endpoint:
    """Serve /metrics on a separate port."""

    def __init__(self, text: str, current: Current, names: Iterable[str] = ()) -> None:
        """Bind the address `[HOST:]PORT` in ``text``; raises RunError if it is invalid or cannot be bound.

        ``names`` are further host names under which the endpoint answers.
        """
        host, port = address(text)
        application = Entry(
            _reading_only(make_wsgi_app(registry(current))), Hosts(host, names), "Prometheus port"
        )
        self._server = WSGIServer(
            (host, port),
            application,
            log=None,
            error_log=None,
            handler_class=_BoundedHandler,
            spawn=Pool(_CONNECTIONS_MAX),
        )
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


class _BoundedHandler(WSGIHandler):  # type: ignore[misc]
    """Close a connection whose request or answer takes too long."""

    ignored_socket_errors = (*WSGIHandler.ignored_socket_errors, "timed out")

    def read_requestline(self) -> str:
        with gevent.Timeout(_PAUSE_S, _TooSlow):
            line: str = super().read_requestline()
        return line

    def read_request(self, raw_requestline: str) -> bool:
        with gevent.Timeout(_REQUEST_S, _TooSlow):
            read: bool = super().read_request(raw_requestline)
        if self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers:
            raise ValueError("a request for metrics has no body")
        return read

    def handle_one_response(self) -> None:
        # In gevent a socket's timeout limits a whole `sendall`, not each write within it.
        self.socket.settimeout(_REQUEST_S)
        super().handle_one_response()
        if self.socket is not None:
            self.socket.settimeout(None)

    def handle(self) -> None:
        with suppress(_TooSlow):
            super().handle()


class _TooSlow(BaseException):
    """A client took too long. Not an Exception, because the HTTP handler would answer that with a server error."""


def _reading_only(application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
        return [b""]

    return answer


def _cumulated(buckets: Buckets) -> list[tuple[str, float]]:
    """Return (`le`, number of values not above `le`) for each bucket; the last `le` is +Inf."""
    total, pairs = 0, []
    for bound_ns, count in zip((*BOUNDS_NS, None), buckets.counts, strict=True):
        total += count
        pairs.append(("+Inf" if bound_ns is None else repr(bound_ns / 1e9), float(total)))
    return pairs
