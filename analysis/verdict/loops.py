"""Name the groups of clients that ran a closed loop, and explain what the percentiles of a closed loop cannot show."""

from collections.abc import Iterable, Mapping
from typing import Any

from analysis import text
from analysis.loading.run import Run


def summarise(run: Run) -> list[dict[str, Any]]:
    """Return each group whose clients ran tasks of user code, with its loop: `closed`, `open`, or None if unknown."""
    return [
        {name: group.get(name) for name in ("group", "users", "loop", "pacing")}
        for group in run.manifest.get("journeys") or ()
    ]


def sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each kind of load in the run (closed or open loop) on how to read its latencies."""
    groups = summary.get("journeys") or []
    closed = [group for group in groups if group["loop"] == "closed"]
    scheduled = [group for group in groups if group["loop"] == "open"]
    unknown = [group for group in groups if group["loop"] not in ("closed", "open")]
    found = []
    if closed:
        found.append(
            f"closed loop: {_names(closed)} publish only after they have waited for an answer, so a slow service is"
            " offered less; the percentiles hide the publishes that were not offered while it was slow (coordinated"
            " omission)"
        )
    if scheduled:
        found.append(
            f"open loop: the tasks of {_names(scheduled)} were due by a schedule ({_pacings(scheduled)}), and latencies"
            " count from it"
        )
    if unknown:
        found.append(f"whether {_names(unknown)} kept a schedule or waited for answers is not known")
    return found


def _names(groups: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(text.clean(group["group"]) for group in groups)


def _pacings(groups: Iterable[Mapping[str, Any]]) -> str:
    return "; ".join(dict.fromkeys(text.clean(group["pacing"] or "unknown") for group in groups))
