"""The metrics of a run in Prometheus' text format, and an endpoint of our own that serves them.

`prometheus_client` writes the format, OpenMetrics for whoever asks for it; Locust's web UI serves the same at /metrics.
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
from loadgen.measure.live import BOUNDS_NS

#: The run that is on, or was last; None: none was.
Current = Callable[[], LiveState | None]
#: What a client has for one request, its answer included, and for the pause before the next.
_REQUEST_S: Final = 10.0
_PAUSE_S: Final = 120.0
#: Connections at a time; more wait in the kernel.
_CONNECTIONS_MAX: Final = 64


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

    def __init__(self, text: str, current: Current, names: Iterable[str] = ()) -> None:
        """Bind the address; raises RunError where it is none or cannot be had.

        ``names`` are those under which it may be asked besides its address.
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
    """Ends a connection whose request or answer takes too long."""

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
        # In gevent a socket's timeout is that of a whole `sendall`.
        self.socket.settimeout(_REQUEST_S)
        super().handle_one_response()
        if self.socket is not None:
            self.socket.settimeout(None)

    def handle(self) -> None:
        with suppress(_TooSlow):
            super().handle()


class _TooSlow(BaseException):
    """A client took too long. Not an Exception: the handler would answer it as an error of ours."""


def _reading_only(application: Application) -> Application:
    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        start_response("405 Method Not Allowed", [("Allow", "GET, HEAD"), ("Content-Length", "0")])
        return [b""]

    return answer


def _cumulated(buckets: Buckets) -> list[tuple[str, float]]:
    """Return (le, count of values up to it) for each bound, the last without one."""
    total, pairs = 0, []
    for bound_ns, count in zip((*BOUNDS_NS, None), buckets.counts, strict=True):
        total += count
        pairs.append(("+Inf" if bound_ns is None else repr(bound_ns / 1e9), float(total)))
    return pairs
