"""The replies to requests in words and rows, for the terminal and the report.

A request is an event that clients reply to when they receive it; a reaction is the chain from it to its replies.
"""

from collections.abc import Mapping
from typing import Any

from analysis import text


def latency_rows(summary: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, figures) for each row of the latency table on reactions; no rows if the run has no reactions."""
    found = summary.get("reaction")
    if found is None:
        return []
    return [
        ("first reply (since request)", found["first_ns"]),
        ("any reply (since request)", found["latency_ns"]),
        ("gap between replies", found["gap_ns"]),
        ("reply lateness (our own)", found["own_lateness_ns"]),
    ]


def rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (meaning, count) for each step from a request to its reply, or no rows if the run has no reactions."""
    found = summary.get("reaction")
    if found is None:
        return []
    requests, replies = found["requests"], found["replies"]
    counts = (
        ("deliveries of requests that were expected", requests["expected"]),
        ("lost, so that they caused no reply", requests["uncaused"]),
        ("delivered to a client that replies", requests["delivered"]),
        ("answered by at least one reply", requests["answered"]),
        ("replies that the delivered requests were to cause", replies["due"]),
        ("accepted by the service", replies["accepted"]),
        ("due only after the end of the run", replies["cut_off"]),
        ("missing: due and not accepted", replies["missing"]),
        ("deliveries of replies that were expected", replies["expected"]),
        ("arrived", replies["arrived"]),
        ("lost", replies["lost"]),
        ("arrived after a later reply to the same request", replies["disorder"]),
    )
    return [(meaning, text.count(number)) for meaning, number in counts]


def sentence(summary: Mapping[str, Any]) -> str | None:
    """Return one sentence on the reactions, or None if the run has none."""
    found = summary.get("reaction")
    if found is None:
        return None
    requests, replies = found["requests"], found["replies"]
    cut_off = f", {replies['cut_off']:,} cut off by the end" if replies["cut_off"] else ""
    lost = (
        "how many requests were lost is not known, since user code chooses what it answers"
        if requests["uncaused"] is None
        else f"{requests['uncaused']:,} requests lost"
    )
    return (
        f"reactions: {requests['answered']:,} of {requests['delivered']:,} delivered requests were answered"
        f" ({lost}); {replies['accepted']:,} of {replies['due']:,} replies accepted"
        f" ({replies['missing']:,} missing{cut_off}); {replies['arrived']:,} of {replies['expected']:,} delivered"
        f" ({replies['lost']:,} lost, {replies['disorder']:,} in disorder)"
    )
