"""Test the web UI's description of the run that its Start button will begin."""

from loadgen.live.coming import Coming
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import overrides_of

TARGET = "http://127.0.0.1:1/event"


def test_it_names_scenario_target_clients_load_and_phases() -> None:
    # The last of 1,200 readers begins 1,199/250 s after the first.
    changes = ["clients.readers.count=1200", "phases.warmup=500ms", "phases.measure=8s", "phases.drain=0s"]
    run = resolve(
        load("comments", overrides_of([*changes, "gates=['delivery.loss == 0','publish.errors == 0']"]))
    )
    coming = Coming.of(run, TARGET)
    rows = dict(coming.rows)
    assert coming.target == rows["Target"] == TARGET
    assert rows["Scenario"] == "comments"
    clients, _, groups = rows["Clients"].partition(": ")
    assert clients == f"{run.totals.clients:,}"
    assert groups.split(", ") == [f"{group.count:,} {group.name}" for group in run.groups]
    assert rows["Subscriptions"] == f"{run.totals.subscriptions:,}"
    assert rows["Gates"].splitlines() == ["delivery.loss == 0", "publish.errors == 0"]
    assert rows["Phases"] == "ramp 4.8 s, warm-up 0.5 s, measure 8 s"
    assert float(rows["Events"].removesuffix("/s").replace(",", "")) == sum(
        publish.events_per_s for publish in run.publishing.values()
    )
