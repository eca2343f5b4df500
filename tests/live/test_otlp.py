"""Test OTLP: the data that a test collector receives, decoded from protobuf."""

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.semconv._incubating.metrics import messaging_metrics

from loadgen.exits import ExitCode, RunError
from loadgen.live.otlp import Exporter
from tests.listening import http_server
from tests.live.synthetic import MS, Fake, event, scenario


class Collector(BaseHTTPRequestHandler):
    received: list[tuple[str, dict[str, str], bytes]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received.append((self.path, dict(self.headers.items()), body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collecting(status: int = 200) -> Iterator[tuple[str, type[Collector]]]:
    handler = type("Handler", (Collector,), {"received": [], "status": status})
    with http_server(handler) as port:
        yield f"http://127.0.0.1:{port}", handler


def measured() -> Fake:
    fake = Fake(scenario('["delivery.latency.p99 < 50ms"]'))
    for number in range(5):
        rows = [
            event(fake.at_ns, sequence=number),
            event(fake.at_ns, "rejected", sequence=100),
            event(fake.at_ns, "unsent", sequence=200),
        ]
        fake.second([MS, 2 * MS] * 5, rows, sequence=number)
        fake.tick()
    return fake


def attributes(of: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in of}


def test_a_collector_gets_the_state_under_conventional_names(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = measured()
    with collecting() as (url, handler):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-token=abc")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
        exporter = Exporter(lambda: fake.state)
        exporter.close()
    ((path, headers, body),) = handler.received
    assert path == "/v1/metrics"
    assert headers["x-token"] == "abc"
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    of_resource = attributes(resource.resource.attributes)
    assert of_resource["service.name"] == "loadgen"
    assert of_resource["loadgen.run"] == "run-1"
    assert of_resource["deployment.environment.name"] == "lab"
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    conventional = {name for name in metrics if name.startswith("messaging.")}
    known = {value for name, value in vars(messaging_metrics).items() if name.startswith("MESSAGING_")}
    assert conventional == {
        messaging_metrics.MESSAGING_CLIENT_SENT_MESSAGES,
        messaging_metrics.MESSAGING_CLIENT_CONSUMED_MESSAGES,
        messaging_metrics.MESSAGING_CLIENT_OPERATION_DURATION,
    }
    assert conventional <= known
    (consumed,) = metrics["messaging.client.consumed.messages"].sum.data_points
    assert consumed.as_double == 50 or consumed.as_int == 50
    assert attributes(consumed.attributes) == {
        "messaging.system": "appsync_events",
        "messaging.operation.name": "receive",
        "messaging.operation.type": "receive",
        "server.address": "127.0.0.1",
        "server.port": 1,
        "loadgen.scenario": "broadcast",
        "loadgen.worker": "0",
        "loadgen.group": "audience",
    }
    sent = {
        attributes(point.attributes).get("error.type", "accepted"): point.as_int
        for point in metrics["messaging.client.sent.messages"].sum.data_points
    }
    # Unsent events do not count as sent messages.
    assert sent == {"accepted": 5, "rejected": 5, "error": 0, "unanswered": 0}
    assert metrics["messaging.client.sent.messages"].sum.is_monotonic
    latency = metrics["loadgen.fanout.latency"]
    assert latency.unit == "s"
    (point,) = latency.histogram.data_points
    assert (point.count, sum(point.bucket_counts)) == (50, 50)
    assert point.sum == pytest.approx(0.075)
    assert (point.min, point.max) == (0.001, 0.002)
    assert dict(zip(point.explicit_bounds, point.bucket_counts, strict=False))[0.001] == 25
    assert point.start_time_unix_nano < point.time_unix_nano
    assert metrics["loadgen.gate.holds"].gauge.data_points


def test_what_is_not_known_has_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Fake(scenario())
    fake.phase = "ramp"
    fake.second([])
    fake.tick()
    with collecting() as (url, handler):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{url}/here")
        Exporter(lambda: fake.state).close()
    ((path, _, body),) = handler.received
    assert path == "/here"
    names = {
        metric.name
        for metric in ExportMetricsServiceRequest.FromString(body)
        .resource_metrics[0]
        .scope_metrics[0]
        .metrics
    }
    assert "loadgen.connections" in names
    assert not names & {
        "loadgen.fanout.latency",
        "loadgen.deliveries.undelivered",
        "loadgen.fanout.latency.recent",
    }


def test_a_collector_that_refuses_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = measured()
    with collecting(400) as (url, handler):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url.replace("//", "//user:secret@"))
        exporter = Exporter(lambda: fake.state)
        exporter.flush()
        exporter.close()
    assert len(handler.received) == 2
    said = capsys.readouterr()
    assert said.err == f"loadgen: OpenTelemetry: {url} does not take the metrics; the run goes on without\n"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "is not an http:// or https:// URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h:port", "is not an http:// or https:// URL"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "soon", "OTEL_METRIC_EXPORT_INTERVAL is 'soon': write milliseconds"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "1", "write milliseconds"),
    ],
)
def test_a_variable_that_makes_no_sense_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(RunError, match=sentence) as caught:
        Exporter(lambda: None)
    assert caught.value.code is ExitCode.USAGE


def test_without_the_extra_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def importing(name: str, *arguments: Any, **kwargs: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *arguments, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(RunError, match=r"^--otel needs the extra 'live', which is not installed: ") as caught:
        Exporter(lambda: None)
    assert caught.value.code is ExitCode.USAGE
