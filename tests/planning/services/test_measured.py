"""Test that the cost computed from a run's record agrees with the cost in the run's summary."""

from fractions import Fraction

import pytest

from analysis.figures.cost import cost
from analysis.loading.run import load
from loadgen.planning.prices import load_prices
from loadgen.planning.services.costing import costings
from loadgen.planning.services.load import Load
from loadgen.planning.services.measured import load_of_record
from loadgen.planning.services.scenario import load_of
from loadgen.resolve.loading import from_resolved
from loadgen.resolve.resolver import resolve
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"


def planned() -> Load:
    return load_of(resolve(from_resolved(load(SAMPLE).manifest["scenario"])))


def test_the_record_of_a_run_costs_what_its_summary_says() -> None:
    run = load(SAMPLE)
    run.manifest["prices"] = load_prices().snapshot()
    for worker in run.manifest["workers"]:
        worker |= {"probes": 7, "probe_deliveries": 20}
    summary = cost(run)
    assert summary is not None
    assert summary["unknown"] == ["data_out"]
    loaded = load_of_record(run, planned())
    (events,) = costings(loaded, "appsync-events")
    assert events.run is not None
    assert float(events.run.usd("service").low or 0) == pytest.approx(summary["usd_total"], rel=1e-9)
    assert loaded.run is not None
    assert loaded.run.count("delivery_byte") == summary["bytes_out"]
    assert loaded.run.count("publish") == summary["operations"]["publish"] + 7 * len(run.manifest["workers"])


def test_what_the_record_does_not_count_is_unknown() -> None:
    # The sample run was recorded before workers counted their probes. So the number of all deliveries is unknown.
    run = load(SAMPLE)
    loaded = load_of_record(run, planned())
    assert loaded.run is not None
    assert loaded.run.count("delivery") is None
    (events,) = costings(loaded, "appsync-events")
    assert events.run is not None
    assert events.run.usd("service").high is None
    assert (events.run.usd("service").low or 0) > 0


def test_units_of_the_record_are_counted_event_by_event() -> None:
    run = load(SAMPLE)
    used = load_of_record(run, planned()).run
    assert used is not None
    events, deliveries, _ = used.flows
    assert events.events > 0
    assert deliveries.deliveries is not None
    assert deliveries.deliveries > events.events
    # Every event of the sample run has 200 bytes. So it counts as two billing units of 100 or 199 bytes, or as one of
    # 200 or more bytes.
    for flow in (events, deliveries):
        assert [flow.sizes.units(Fraction(size)) for size in (100, 199, 200, 5120)] == [2, 2, 1, 1]
    assert deliveries.sizes.mean == 200
    assert used.hours < 1


def test_the_month_is_that_of_the_scenario() -> None:
    expected = costings(planned(), "ably:per-minute")[0]
    (found,) = costings(load_of_record(load(SAMPLE), planned()), "ably:per-minute")
    assert found.month.usd() == expected.month.usd()
    assert found.run is not None
    assert found.run != expected.run
