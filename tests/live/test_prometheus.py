"""Test the Prometheus metrics (usual names, exact values, no samples for unknown values) and the Grafana dashboard."""

import json
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from loadgen.exits import ExitCode, RunError
from loadgen.live.prometheus import Endpoint, address, registry
from tests.live.synthetic import MEASURE_NS, MS, SECOND, Fake, event, scenario
from tests.paths import REPO

DASHBOARD = REPO / "docs" / "live" / "grafana-dashboard.json"
GATES = '["delivery.latency.p99 < 50ms", "delivery.duplicates == 0"]'


def measured() -> Fake:
    fake = Fake(scenario(GATES))
    for number in range(6):
        rows = [event(fake.at_ns, sequence=number), event(fake.at_ns, "rejected", sequence=100 + number)]
        fake.second([MS, 2 * MS] * 5, rows, sequence=number, queue_max_ns=MS, late_max_ns=MS)
        fake.tick()
    return fake


def samples(fake: Fake) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = generate_latest(registry(lambda: fake.state)).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_values_are_those_of_the_state() -> None:
    found = samples(measured())
    one = (("scenario", "broadcast"),)
    assert found["loadgen_fanout_latency_seconds_count", one] == 60
    assert found["loadgen_fanout_latency_seconds_sum", one] == pytest.approx(0.090)
    assert found["loadgen_fanout_latency_seconds_bucket", (("le", "0.001"), *one)] == 30
    assert found["loadgen_fanout_latency_seconds_bucket", (("le", "0.0025"), *one)] == 60
    assert found["loadgen_fanout_latency_seconds_bucket", (("le", "+Inf"), *one)] == 60
    group = (("group", "audience"), *one, ("worker", "0"))
    assert found["loadgen_deliveries_total", group] == 60
    assert found["loadgen_published_events_total", (*one, ("status", "rejected"), ("worker", "0"))] == 6
    assert found["loadgen_measured_deliveries_expected_total", one] == 60
    assert found["loadgen_undelivered_ratio", one] == 0
    assert found["loadgen_phase", (("phase", "measure"), *one)] == 1
    assert found["loadgen_verdict", (*one, ("verdict", "valid"))] == 1
    assert found["loadgen_gate_holds", (("gate", "delivery.latency.p99 < 50ms"), *one)] == 1
    assert ("loadgen_gate_holds", (("gate", "delivery.duplicates == 0"), *one)) not in found


def test_what_is_not_known_has_no_sample() -> None:
    fake = Fake(scenario())
    assert generate_latest(registry(lambda: None)) == b""
    assert samples(fake) == {}
    fake.phase = "ramp"
    fake.second([])
    fake.tick()
    found = {name for name, _ in samples(fake)}
    assert "loadgen_connections" in found
    assert not [name for name in found if "recent" in name or "undelivered" in name or "queue" in name]
    # For a worker that fell silent, there is no sample of its CPU any more.
    fake.at_ns += 10 * SECOND
    fake.gone = frozenset({0})
    fake.tick()
    assert "loadgen_worker_cpu_ratio" not in {name for name, _ in samples(fake)}


def test_the_text_is_what_openmetrics_and_promtool_want() -> None:
    # The OpenMetrics part of the library has no type hints.
    text = generate_openmetrics(registry(lambda: measured().state)).decode()  # type: ignore[no-untyped-call]
    assert text.endswith("# EOF\n")
    families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert len(families) > 25
    for family in families:
        assert family.documentation.endswith(".")
        assert not family.name.endswith(("_ms", "_ns", "_milliseconds"))
    promtool = shutil.which("promtool")
    if promtool is not None:
        plain = generate_latest(registry(lambda: measured().state))
        checked = subprocess.run([promtool, "check", "metrics"], input=plain, capture_output=True, timeout=30)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_labels_of_foreign_text_are_escaped() -> None:
    fake = measured()
    fake.state.target = 'http://x/"\\\n# HELP forged'
    text = generate_latest(registry(lambda: fake.state)).decode()
    assert "\n# HELP forged" not in text
    assert next(iter(text_string_to_metric_families(text))).samples[0].labels["target"] == fake.state.target


def test_an_address_may_have_a_host() -> None:
    assert address("9464") == ("127.0.0.1", 9464)
    assert address(":9464") == ("127.0.0.1", 9464)
    assert address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert address("[::1]:80") == ("::1", 80)
    for wrong in ("", "x", "host:", "1:2:x", "0", "65536", "-1", "٣"):
        with pytest.raises(RunError, match=r"--prometheus: .* is not \[HOST:\]PORT") as caught:
            address(wrong)
        assert caught.value.code is ExitCode.USAGE


def test_the_endpoint_serves_and_says_when_it_cannot() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.listen()
        with pytest.raises(RunError, match=r"cannot listen on 127\.0\.0\.1 port .*already in use"):
            Endpoint(str(port), lambda: None)
    import gevent

    endpoint = Endpoint(str(port), lambda: measured().state)
    try:
        fetched = gevent.get_hub().threadpool.spawn(
            lambda: urllib.request.urlopen(endpoint.url, timeout=60).read()
        )
        assert b"loadgen_fanout_latency_seconds_bucket" in fetched.get()
    finally:
        endpoint.close()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_the_dashboard_asks_for_metrics_and_labels_that_exist() -> None:
    fake = measured()
    labels: dict[str, set[str]] = {}
    for name, pairs in samples(fake):
        labels.setdefault(name, set()).update(key for key, _ in pairs)
    dashboard = json.loads(DASHBOARD.read_text())
    assert dashboard["schemaVersion"] >= 39
    assert dashboard["uid"]
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) > 15
    asked: set[str] = set()
    for expression in expressions:
        names = set(re.findall(r"\bloadgen_\w+", expression))
        assert names, expression
        assert names <= set(labels), expression
        asked |= names
        for name, selectors in re.findall(r"(loadgen_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[=!]~?", selectors)) <= labels[name], expression
        for grouped in re.findall(r"\bby\s*\(([^)]*)\)", expression):
            wanted = {label.strip() for label in grouped.split(",")}
            assert wanted <= set().union(*(labels[name] for name in names)), expression
    assert {"loadgen_fanout_latency_seconds_bucket", "loadgen_verdict", "loadgen_undelivered_ratio"} <= asked
    assert MEASURE_NS


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    # These rules are taken from the types of @grafana/schema 13.2.3, against which the dashboard was checked
    # once.
    dashboard = json.loads(DASHBOARD.read_text())
    assert "id" not in dashboard, "an id would overwrite another dashboard"
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert set(variables) == {"datasource", "scenario"}
    assert all("current" not in each for each in variables.values())
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} covers another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("stat", "timeseries", "heatmap", "table")
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
            # The counters of arrived and of expected deliveries are not read at the same moment, so the difference of
            # their rates may be negative.
            assert "loadgen_measured_deliveries" not in target["expr"]
            # Each query selects one scenario: otherwise the dashboard would add up runs of different scenarios.
            assert 'scenario="$scenario"' in target["expr"]
            assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= {
                *variables,
                "__rate_interval",
                "__range",
            }
