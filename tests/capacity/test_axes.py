"""Test the overrides by which `loadgen capacity` scales a scenario to a load, for each quantity it can vary (axis)."""

from pathlib import Path

import pytest

from loadgen.capacity.axes import Axis, scale_of
from loadgen.resolve.loading import load
from loadgen.scenario import Scenario, ScenarioError

SCENARIO = """version: 1
variables: {room: {count: 4}, thread: {count: 2}}
clients:
  many: {count: 90, subscribe: "/default/{room}/{thread}"}
  few: {count: 10, ramp: 50/s, subscribe: "/default/{room}/*"}
  feed: {count: 2, publish: {channel: "/default/{room}/{thread}", rate: 60/s}}
  chat: {count: 4, publish: {channel: "/default/{room}/{thread}", rate_per_client: 10/s, via: websocket}}
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "axes.yaml").write_text(SCENARIO)
    return str(tmp_path / "axes.yaml")


def at(path: str, axis: Axis, wanted: float, variable: str | None = None) -> Scenario:
    scale = scale_of(load(path), axis, variable)
    return load(path, dict(item.partition("=")[::2] for item in scale.overrides(wanted)))


def rates(scenario: Scenario) -> list[float]:
    return [each.publish.events_per_s(each.count) for each in scenario.clients.values() if each.publish]


def test_events_scale_all_rates_in_proportion(path: str) -> None:
    assert scale_of(load(path), Axis.EVENTS).base == 100
    assert rates(at(path, Axis.EVENTS, 250)) == pytest.approx([150, 100])


@pytest.mark.parametrize("wanted", [2, 7, 100, 333])
def test_subscribers_are_shared_out_whole_and_their_sum_is_the_load(path: str, wanted: int) -> None:
    counts = {name: group.count for name, group in at(path, Axis.SUBSCRIBERS, wanted).clients.items()}
    assert counts["many"] + counts["few"] == wanted
    assert (counts["feed"], counts["chat"]) == (2, 4)


def test_payload_channels_and_connect_rate(path: str) -> None:
    assert {g.publish.payload_bytes for g in at(path, Axis.PAYLOAD, 700).clients.values() if g.publish} == {
        700
    }
    assert at(path, Axis.CHANNELS, 12, "room").variables["room"].count == 12
    ramps = [group.ramp_per_s for group in at(path, Axis.CONNECT_RATE, 80).clients.values()]
    assert sum(ramps) == pytest.approx(80)
    assert ramps[0] / ramps[1] == pytest.approx(5)


@pytest.mark.parametrize(
    ("axis", "variable", "said"),
    [
        (Axis.CHANNELS, None, "has room, thread"),
        (Axis.CHANNELS, "rom", "has room, thread"),
        (Axis.EVENTS, "room", "goes with --axis channels only"),
    ],
)
def test_an_axis_that_is_not_there(path: str, axis: Axis, variable: str | None, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        scale_of(load(path), axis, variable)
