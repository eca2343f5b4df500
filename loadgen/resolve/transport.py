"""Decide, by the rules of the target's protocol, over which transport a group's clients reach the service."""

from typing import TYPE_CHECKING

from loadgen.protocol.rules import ProtocolRules

if TYPE_CHECKING:
    # Imported only for types: a process that executes a run must not load the scenario package.
    from loadgen.scenario.models import Group


def over_http(via: str, rules: ProtocolRules) -> bool:
    """Return True if clients with ``via`` (`http` or `websocket`) in the scenario publish over HTTP."""
    return (via == "http" and rules.publishes_over_http) or not rules.publishes_over_connections


def holds_connections(group: "Group", rules: ProtocolRules) -> bool:
    """Return True if each client of a group opens a connection of its own."""
    return bool(group.subscribe) or (group.publish is not None and not over_http(group.publish.via, rules))
