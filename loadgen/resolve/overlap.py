"""Refuse clients with overlapping subscriptions if the protocol's deliveries do not name their subscription."""

from loadgen.config.problems import ScenarioError
from loadgen.data.tables import Tables
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.clients import Clients, SubscriptionPlan
from loadgen.resolve.rows import ClientRows
from loadgen.resolve.run import ResolvedRun

#: Put in the place of a pattern's wildcard to make an example of a matching channel.
_ANYTHING = "anything"


def check_overlaps(run: ResolvedRun, rules: ProtocolRules, tables: Tables | None = None) -> None:
    """Check every client's subscriptions, unless the target's protocol allows overlapping ones.

    Raises:
        ScenarioError: a client has two subscriptions that overlap.
    """
    if rules.overlapping_subscriptions:
        return
    tables = Tables() if tables is None else tables
    clients = Clients(run, tables, ClientRows(run, tables))
    for group in run.groups:
        if len(group.subscribe) < 2:
            continue
        for number in range(group.first, group.first + group.count):
            client = clients.client(number)
            pair = _overlapping(rules, client.subscriptions)
            if pair is not None:
                first, second = pair
                raise ScenarioError(
                    [
                        f"clients.{group.name}.subscribe: client {client.index} of the group would subscribe to both"
                        f" {first!r} and {second!r}, which overlap: a message does not say which of the two it"
                        " belongs to, and brokers differ in how often they deliver it; give each client"
                        " subscriptions that do not overlap"
                    ]
                )


def _overlapping(rules: ProtocolRules, subscriptions: tuple[SubscriptionPlan, ...]) -> tuple[str, str] | None:
    """Return two overlapping patterns, or None if there are none.

    Wildcards stand only at the end, so one of two overlapping patterns contains the other.
    """
    matches = rules.matches
    patterns = [subscription.channel for subscription in subscriptions]
    for place, first in enumerate(patterns):
        for second in patterns[place + 1 :]:
            if first == second or matches(first, _some(second)) or matches(second, _some(first)):
                return first, second
    return None


def _some(pattern: str) -> str:
    """Return an example of a channel that the pattern matches."""
    return pattern[:-1] + _ANYTHING if pattern.endswith("/*") else pattern
