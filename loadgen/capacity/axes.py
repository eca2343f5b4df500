"""What a load is on each axis, and the overrides (`--set`) that give a scenario that load."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from loadgen.config.units import format_rate
from loadgen.scenario import Scenario, ScenarioError
from loadgen.scenario.models import Group


class Axis(Enum):
    """What is scaled."""

    EVENTS = "events"
    SUBSCRIBERS = "subscribers"
    CHANNELS = "channels"
    PAYLOAD = "payload"
    CONNECT_RATE = "connect-rate"


_PROPORTIONAL: Final = frozenset({Axis.EVENTS, Axis.SUBSCRIBERS})
_WHOLE: Final = frozenset({Axis.SUBSCRIBERS, Axis.CHANNELS, Axis.PAYLOAD})


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis of one scenario. `base` is the scenario's own load, `unit` reads on from a number."""

    axis: Axis
    base: float
    unit: str
    overrides: Callable[[float], list[str]]

    @property
    def whole(self) -> bool:
        """Whether loads are whole numbers."""
        return self.axis in _WHOLE

    @property
    def proportional(self) -> bool:
        """Whether goodput is in proportion to the load below the limit."""
        return self.axis in _PROPORTIONAL


def scale_of(scenario: Scenario, axis: Axis, variable: str | None = None) -> Scale:
    """Return the axis of a scenario; `variable` names the one of the channels axis where there are several.

    Raises:
        ScenarioError: the scenario has nothing that the axis could scale.
    """
    groups = scenario.clients
    if axis is Axis.CHANNELS:
        return _channels(scenario, variable)
    if variable is not None:
        raise ScenarioError(["--variable goes with --axis channels only"])
    if axis is Axis.EVENTS:
        return _events(groups)
    if axis is Axis.SUBSCRIBERS:
        counts = {name: group.count for name, group in groups.items() if group.subscribe}
        total = sum(counts.values())

        def subscribers(load: float) -> list[str]:
            return [
                f"clients.{name}.count={count}" for name, count in _shared(counts, total, round(load)).items()
            ]

        return Scale(axis, total, " subscribers", subscribers)
    if axis is Axis.PAYLOAD:
        sizes = {name: group.publish.payload_bytes for name, group in groups.items() if group.publish}
        return Scale(
            axis,
            max(sizes.values()),
            " B an event",
            lambda load: [f"clients.{name}.publish.payload={round(load)}B" for name in sizes],
        )
    ramps = {name: group.ramp_per_s for name, group in groups.items()}
    total_ramp = sum(ramps.values())
    return Scale(
        axis,
        total_ramp,
        " connects/s",
        lambda load: [
            f"clients.{name}.ramp={format_rate(ramp * load / total_ramp)}" for name, ramp in ramps.items()
        ],
    )


def _events(groups: Mapping[str, Group]) -> Scale:
    publishing = {name: (group.publish, group.count) for name, group in groups.items() if group.publish}
    total = sum(publish.events_per_s(count) for publish, count in publishing.values())

    def overrides(load: float) -> list[str]:
        said = []
        for name, (publish, _) in publishing.items():
            key = "rate" if publish.rate_per_s is not None else "rate_per_client"
            rate = publish.rate_per_s or publish.rate_per_client_per_s or 0.0
            said.append(f"clients.{name}.publish.{key}={format_rate(rate * load / total)}")
        return said

    return Scale(Axis.EVENTS, total, " events/s", overrides)


def _channels(scenario: Scenario, variable: str | None) -> Scale:
    names = list(scenario.variables)
    if variable is None and len(names) != 1:
        known = ", ".join(names) or "none"
        raise ScenarioError(
            [f"--axis channels needs --variable NAME to say which one; the scenario has {known}"]
        )
    name = variable or names[0]
    if name not in scenario.variables:
        raise ScenarioError([f"--variable {name}: the scenario has {', '.join(names) or 'no variables'}"])
    return Scale(
        Axis.CHANNELS,
        scenario.variables[name].count,
        f" values of {name}",
        lambda load: [f"variables.{name}.count={round(load)}"],
    )


def _shared(counts: dict[str, int], total: int, wanted: int) -> dict[str, int]:
    """Share a number out in proportion, whole and at least one each; the sum is exact wherever that can be."""
    shares = {name: max(1, count * wanted // total) for name, count in counts.items()}
    left = wanted - sum(shares.values())
    for name in sorted(counts, key=lambda each: -counts[each])[: max(0, left)]:
        shares[name] += 1
    return shares
