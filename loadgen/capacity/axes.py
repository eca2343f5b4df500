"""Define the axes of a capacity search: properties of a scenario to scale, and `--set` items that scale them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from loadgen.config.units import format_rate
from loadgen.scenario import Scenario, ScenarioError
from loadgen.scenario.models import Group


class Axis(Enum):
    """Property of a scenario that a capacity search scales."""

    EVENTS = "events"
    SUBSCRIBERS = "subscribers"
    CHANNELS = "channels"
    PAYLOAD = "payload"
    CONNECT_RATE = "connect-rate"


_PROPORTIONAL: Final = frozenset({Axis.EVENTS, Axis.SUBSCRIBERS})
_WHOLE: Final = frozenset({Axis.SUBSCRIBERS, Axis.CHANNELS, Axis.PAYLOAD})


@dataclass(frozen=True, slots=True)
class Scale:
    """The property of one scenario that a search scales, and the overrides that set it to a load.

    `base` is the scenario's own load, `unit` the text to print after a load, with a leading space, and `overrides`
    returns the `--set` items for a load.
    """

    axis: Axis
    base: float
    unit: str
    overrides: Callable[[float], list[str]]

    @property
    def whole(self) -> bool:
        """True if loads are whole numbers."""
        return self.axis in _WHOLE

    @property
    def proportional(self) -> bool:
        """True if goodput grows in proportion to the load as long as the load is below the limit."""
        return self.axis in _PROPORTIONAL


def scale_of(scenario: Scenario, axis: Axis, variable: str | None = None) -> Scale:
    """Return the scenario's current load on an axis, such as its rate, and overrides that set another load.

    ``variable`` names the variable that the axis `channels` scales; it is optional if the scenario has only one.

    Raises:
        ScenarioError: the variable is missing, unknown, or given for another axis.
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
        sizes = _sizes(groups)
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


def _sizes(groups: Mapping[str, Group]) -> dict[str, int]:
    """Return the size of each group's events; raises ScenarioError if one has events of several sizes."""
    sizes = {}
    for name, group in groups.items():
        if group.publish is None:
            continue
        if group.publish.payload_bytes is None:
            raise ScenarioError(
                [
                    f"--axis payload needs events of one size: clients.{name}.publish.payload makes events of its own;"
                    " give it a size such as 200B, or choose another axis"
                ]
            )
        sizes[name] = group.publish.payload_bytes
    return sizes


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
    """Divide ``wanted`` among groups in proportion to their counts, in whole numbers of at least one.

    The sum is ``wanted``, or more where small groups are raised to one.
    """
    shares = {name: max(1, count * wanted // total) for name, count in counts.items()}
    left = wanted - sum(shares.values())
    for name in sorted(counts, key=lambda each: -counts[each])[: max(0, left)]:
        shares[name] += 1
    return shares
