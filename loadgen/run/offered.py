"""Write a run's offered load into its manifest as plain numbers, so that readers need not interpret the scenario."""

from typing import Any

from loadgen.resolve import ResolvedRun


def offered(run: ResolvedRun) -> list[dict[str, Any]]:
    """Return each publishing group's rate and the points of its load curve.

    A point is (time, load). The time is in ns from the start of the measure phase, and negative in the warm-up. The
    load is a multiple of the rate.
    """
    return [
        {
            "group": name,
            "events_per_s": publish.events_per_s,
            "points": [[point.at_ns - run.phases.warmup_ns, point.load] for point in publish.pace.curve],
        }
        for name, publish in run.publishing.items()
    ]


def journeys(run: ResolvedRun) -> list[dict[str, Any]]:
    """Return each group whose clients run the tasks of a user class, with its loop (open or closed)."""
    return [
        {"group": group.name, "users": group.users, "loop": group.loop, "pacing": group.pacing}
        for group in run.journeys
    ]
