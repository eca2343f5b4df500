"""Test comparisons of two services: how they are named, what else differs, and which is better by each metric."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.compare import outputs, page, services
from analysis.compare.decide import compare
from analysis.compare.profile import Profile, read, write
from analysis.loading.run import load
from analysis.summary import summarise
from tests.analysis.comparisons import World
from tests.analysis.synthetic import delivery, event, subscription, write_run

APPSYNC: dict[str, Any] = {
    "protocol": "appsync-events",
    "service": "AWS AppSync Events",
    "url": "http://127.0.0.1:1/event",
    "embedded": True,
    "loopback": True,
    "setup": {"publish": "over HTTP"},
    "host": "here",
}
MQTT: dict[str, Any] = {
    "protocol": "mqtt",
    "service": "MQTT 5",
    "url": "mqtt://127.0.0.1:1883",
    "embedded": False,
    "loopback": True,
    "setup": {"publish": "PUBLISH packets", "quality of service": "QoS 1"},
    "host": "here",
}


def sides(factor: float, mqtt: dict[str, Any] = MQTT) -> tuple[list[Profile], list[Profile]]:
    base, new = World(5).sides(4, factor)
    return [replace(each, target=APPSYNC) for each in base], [replace(each, target=mqtt) for each in new]


def shown(base: list[Profile], new: list[Profile]) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    outputs.show(console, base, new, compare(base, new, resamples=50))
    return console.export_text()


@pytest.mark.parametrize(("factor", "better"), [(0.7, "MQTT 5"), (1.4, "AWS AppSync Events")])
def test_the_better_service_is_named_with_what_else_differs(factor: float, better: str) -> None:
    base, new = sides(factor)
    text = shown(base, new)
    assert "AWS AppSync Events against MQTT 5" in text
    assert f"{better} is better in delivery.latency.p50 (1.4" in text
    assert f"{better} better" in text
    assert "no difference that matters in delivery.rate" in text
    assert "mqtt://127.0.0.1:1883" in text
    assert "PUBLISH packets" in text
    assert "our embedded server" in text
    assert "shared the generator's machine" in text
    assert "generator on" not in text, "it was the same machine"


def test_builds_of_one_service_are_compared_as_before() -> None:
    base, new = World(5).sides(4, 1.4)
    assert services.names(base, new) is None
    text = shown(base, new)
    assert "better in" not in text
    assert text.strip().endswith("worse")


def test_what_a_reader_must_know_depends_on_what_was_compared() -> None:
    base, new = sides(
        1.0, {**MQTT, "setup": {"quality of service": "QoS 0: …"}, "loopback": False, "host": "there"}
    )
    said = " ".join(services.caveats(base, new))
    assert "at QoS 0 the broker acknowledges no publish" in said
    assert "one of the targets shared the generator's machine" in said
    assert "different machines: here, there" in said
    assert "a request of several events" not in said
    batched = [replace(each, scenario={"clients": {"c": {"publish": {"batch": 5}}}}) for each in base]
    assert "a request of several events" in " ".join(services.caveats(batched, new))
    assert ("generator on", "here", "there") in services.setup(base, new)


def test_the_page_shows_both_and_holds_nothing_foreign(tmp_path: Path) -> None:
    base, new = sides(0.7, {**MQTT, "url": "mqtt://<script>alert(1)</script>"})
    path = tmp_path / "services.html"
    page.write(path, base, new, compare(base, new, resamples=50))
    html = path.read_text()
    assert "<h1>AWS AppSync Events against MQTT 5</h1>" in html
    assert "MQTT 5 is better in" in html
    assert "<script>" not in html
    assert html.count("<svg") == 1
    builds = World(5).sides(3, 1.2)
    page.write(path, *builds, compare(*builds, resamples=50))
    assert "<h1>base against new</h1>" in path.read_text()


def test_a_baseline_keeps_its_target_and_an_old_one_has_none(tmp_path: Path) -> None:
    base, _ = sides(1.0)
    write(tmp_path / "base.json", base)
    assert read(tmp_path / "base.json") == base
    content = json.loads((tmp_path / "base.json").read_text())
    for entry in content["runs"]:
        del entry["target"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert [profile.target for profile in read(tmp_path / "old.json")] == [{}] * len(base)
    assert services.names([replace(base[0], target={})], base) is None


def test_of_a_service_that_answers_nothing_acceptance_is_unknown_and_all_that_was_sent_is_expected(
    tmp_path: Path,
) -> None:
    events = [event(0, n, "/a/b", n * 1_000_000, "sent", acked_ns=None) for n in range(4)]
    run = load(
        write_run(
            tmp_path / "run",
            {
                "events": [*events, event(0, 9, "/a/b", 9_000_000, "error", acked_ns=None, error="gone")],
                "subscriptions": [subscription(0, "/a/*", -1_000_000)],
                "deliveries": [delivery(sent, 0) for sent in events[:3]],
            },
            target={
                "protocol": "mqtt",
                "service": "MQTT 5",
                "url": "mqtt://x:1883",
                "http_url": None,
                "ws_url": None,
                "setup": {"quality of service": "QoS 0"},
                "embedded": False,
                "loopback": True,
                "auth": "nobody (no login)",
            },
        )
    )
    summary = summarise(run)
    ledger = summary["ledger"]
    assert (ledger["events_due"], ledger["events_accepted"]) == (5, None)
    assert (ledger["expected"], ledger["delivered"], ledger["lost"]) == (4, 3, 1)
    assert ledger["balances"]
    assert summary["throughput"]["accepted_per_s"] is None
    assert summary["target"]["service"] == "MQTT 5"
    assert summary["publish"]["events_by_status"] == {"sent": 4, "error": 1}
