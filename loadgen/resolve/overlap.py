"""Whether a client has two subscriptions that receive the same event, where the protocol cannot tell them apart."""

from loadgen.config.problems import ScenarioError
from loadgen.protocol.rules import ProtocolRules
from loadgen.resolve.clients import Clients, SubscriptionPlan
from loadgen.resolve.run import ResolvedRun

#: Stands for whatever a wildcard may stand for.
_ANYTHING = "anything"


def check_overlaps(run: ResolvedRun, rules: ProtocolRules) -> None:
    """Check every client's subscriptions, where the rules of the run's target want it.

    Raises:
        ScenarioError: some client has two that overlap.
    """
    if rules.overlapping_subscriptions:
        return
    clients = Clients(run)
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
    """Return two overlapping patterns: of two with wildcards at their ends one holds all of the other."""
    matches = rules.matches
    patterns = [subscription.channel for subscription in subscriptions]
    for place, first in enumerate(patterns):
        for second in patterns[place + 1 :]:
            if first == second or matches(first, _some(second)) or matches(second, _some(first)):
                return first, second
    return None


def _some(pattern: str) -> str:
    """Return a channel that the pattern receives."""
    return pattern[:-1] + _ANYTHING if pattern.endswith("/*") else pattern
