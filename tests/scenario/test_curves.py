"""Test short forms of load curves: their points, and the resulting length of the measurement."""

from pathlib import Path

import pytest

from loadgen.pacing import Point
from loadgen.resolve import Clients
from loadgen.resolve.loading import from_resolved, load
from loadgen.resolve.resolver import resolve
from loadgen.scenario import Scenario
from tests.scenario.examples import with_publish
from tests.scenario.publishing import publish_of

SECOND = 1_000_000_000


def written(profile: str, tmp_path: Path, **overrides: str) -> Scenario:
    (tmp_path / "x.yaml").write_text(with_publish(f"profile: {profile}"))
    return load(str(tmp_path / "x.yaml"), {key.replace("__", "."): value for key, value in overrides.items()})


def curve_of(scenario: Scenario) -> list[tuple[float, float]]:
    """Return the points as (seconds from the start of the measurement, load)."""
    publish = scenario.clients["writers"].publish
    assert publish is not None
    return [(point.at_ns / SECOND, point.load) for point in publish.curve(scenario.phases.measure_ns)]


@pytest.mark.parametrize(
    ("profile", "points", "measure_s"),
    [
        (
            "{steps: [25%, 50%, 100%], each: 30s}",
            [(0, 0.25), (30, 0.25), (30, 0.5), (60, 0.5), (60, 1), (90, 1)],
            90,
        ),
        ("{steps: {from: 10%, to: 100%, count: 2}, each: 1m}", [(0, 0.1), (60, 0.1), (60, 1), (120, 1)], 120),
        ("{ramp: {from: 0%, to: 100%, over: 1m}}", [(0, 0), (60, 1)], 60),
        (
            "{bursts: {base: 20%, peak: 100%, every: 10s, for: 2s}}",
            [(0, 0.2), (8, 0.2), (8, 1), (10, 1), (10, 0.2), (18, 0.2), (18, 1), (20, 1), (20, 0.2)],
            20,  # bursts go on without end, so the measurement has its default length
        ),
        (
            "{bursts: {base: 20%, peak: 100%, every: 15s, for: 2s, first: 0s}}",
            [(0, 1), (2, 1), (2, 0.2), (15, 0.2), (15, 1), (17, 1), (17, 0.2)],
            20,
        ),
        ("{points: [{at: 0s, load: 10%}, {at: 5s, load: 20%}], lasts: 7s}", [(0, 0.1), (5, 0.2)], 7),
        ("[{at: 0s, load: 10%}, {at: 5s, load: 20%}]", [(0, 0.1), (5, 0.2)], 20),
    ],
)
def test_what_a_form_stands_for(
    tmp_path: Path, profile: str, points: list[tuple[float, float]], measure_s: int
) -> None:
    scenario = written(profile, tmp_path)
    assert curve_of(scenario) == points
    assert scenario.phases.measure_ns == measure_s * SECOND
    assert resolve(scenario).warnings == ()
    assert from_resolved(scenario.resolved()) == scenario


def test_a_day_begins_and_peaks_when_it_says(tmp_path: Path) -> None:
    profile = "{daily: {low: 10%, peak: 110%, peak_at: 20:00, starts_at: '08:00', day: 10m, days: 2}}"
    scenario = written(profile, tmp_path)
    points = curve_of(scenario)
    assert points[0] == pytest.approx((0, 0.1))
    assert (points[-1][0], len(points), scenario.phases.measure_ns) == (1200, 577, 1200 * SECOND)
    assert [at for at, load in points if load == pytest.approx(1.1)] == [300, 900]
    assert from_resolved(scenario.resolved()) == scenario


def test_the_measurement_is_as_long_as_it_is_said_to_be(tmp_path: Path) -> None:
    scenario = written("{steps: [25%, 50%], each: 2s}", tmp_path, phases__measure="9s")
    assert scenario.phases.measure_ns == 9 * SECOND
    assert publish_of(Clients(resolve(scenario)), 5).duration_ns == 10 * SECOND


def test_the_longest_curve_decides_how_long_the_measurement_is(tmp_path: Path) -> None:
    text = with_publish("profile: {steps: [25%], each: 30s}").replace(
        "phases:",
        '  others:\n    count: 1\n    publish: {channel: "/default/c/{article}/x", rate: 1/s,'
        " profile: {ramp: {from: 0%, to: 100%, over: 45s}}}\nphases:",
    )
    (tmp_path / "x.yaml").write_text(text)
    assert load(str(tmp_path / "x.yaml")).phases.measure_ns == 45 * SECOND


def test_a_form_and_its_points_make_the_same_schedule(tmp_path: Path) -> None:
    form = written("{steps: [25%, 50%], each: 2s}", tmp_path)
    points = "[{at: 0s, load: 25%}, {at: 2s, load: 25%}, {at: 2s, load: 50%}, {at: 4s, load: 50%}]"
    listed = written(points, tmp_path, phases__measure="4s")
    for number in (5, 6):
        assert [*publish_of(Clients(resolve(form)), number).offsets_ns()] == [
            *publish_of(Clients(resolve(listed)), number).offsets_ns()
        ]
    # Two publishers share 100/s. They make 25 requests in one second of warm-up at 25 %, 50 in two seconds of
    # measurement at 25 %, and 100 in two seconds at 50 %.
    assert sum(len([*publish_of(Clients(resolve(form)), n).offsets_ns()]) for n in (5, 6)) == 25 + 50 + 100


def test_the_load_before_the_first_step_is_that_of_the_first_step(tmp_path: Path) -> None:
    pace = publish_of(Clients(resolve(written("{steps: [25%, 50%], each: 2s}", tmp_path))), 5).pace
    assert pace.curve[0] == Point(1 * SECOND, 0.25)
    assert pace.integral.requests_before(SECOND) == 25
