"""What a run means to offer, for its manifest: numbers, so that who reads it needs no scenario."""

from typing import Any

from loadgen.scenario import Scenario


def offered(scenario: Scenario) -> list[dict[str, Any]]:
    """Return each publishing group's rate and the points of its curve (ns from the measure's start, load)."""
    return [
        {
            "group": name,
            "events_per_s": group.publish.events_per_s(group.count),
            "points": [
                [point.at_ns, point.load] for point in group.publish.curve(scenario.phases.measure_ns)
            ],
        }
        for name, group in scenario.clients.items()
        if group.publish is not None
    ]
