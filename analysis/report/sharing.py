"""Remarks on features that only message brokers have: shared subscriptions, kept sessions, unmeasured messages."""

from collections.abc import Iterator
from typing import Any

from analysis import text

_SESSIONS = {
    "resumed": "resumed",
    "expired": "expired before the client was back",
    "lost": "lost by the service",
}


def notes(summary: dict[str, Any]) -> Iterator[str]:
    """Yield sentences on a run's shared subscriptions, kept sessions and messages that are not measured, if any."""
    shared = summary["readiness"]["shared"]
    if shared["subscriptions"]:
        groups = "one group" if shared["groups"] == 1 else f"{shared['groups']:,} groups"
        yield (
            f"{shared['subscriptions']:,} subscriptions share their events in {groups}: each event is expected once for"
            " a group, at any of its members, and a group counts as one subscription"
        )
    sessions = summary["connections"]["sessions"]
    told = [f"{sessions[name]:,} {said}" for name, said in _SESSIONS.items() if sessions.get(name)]
    if told:
        yield "sessions that clients kept over a reconnect: " + ", ".join(told)
    for what, number in summary["workers"]["asides"].items():
        yield f"counted apart: {text.clean(what)} ({number:,}×)"
