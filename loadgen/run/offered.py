"""What a run means to offer, for its manifest: numbers, so that who reads it needs no scenario."""

from typing import Any

from loadgen.resolve import ResolvedRun


def offered(run: ResolvedRun) -> list[dict[str, Any]]:
    """Return each publishing group's rate and the points of its curve (ns from the measure's start, load)."""
    return [
        {
            "group": name,
            "events_per_s": publish.events_per_s,
            "points": [[point.at_ns - run.phases.warmup_ns, point.load] for point in publish.pace.curve],
        }
        for name, publish in run.publishing.items()
    ]
