"""Whether a client has two subscriptions that receive the same event, where the protocol cannot tell them apart."""

from loadgen.scenario.plan import Plan, SubscriptionPlan
from loadgen.scenario.problems import ScenarioError
from loadgen.scenario.scenario import Scenario

#: Stands for whatever a wildcard may stand for.
_ANYTHING = "anything"


def check_overlaps(scenario: Scenario, plan: Plan) -> None:
    """Check every client's subscriptions, where the rules of the scenario's target want it.

    Raises:
        ScenarioError: some client has two that overlap.
    """
    if scenario.rules.overlapping_subscriptions:
        return
    for group in plan.groups:
        if group.subscriptions_per_client < 2:
            continue
        for number in range(group.first, group.first + group.count):
            client = plan.client(number)
            pair = _overlapping(scenario, client.subscriptions)
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


def _overlapping(scenario: Scenario, subscriptions: tuple[SubscriptionPlan, ...]) -> tuple[str, str] | None:
    """Return two overlapping patterns: of two with wildcards at their ends one holds all of the other."""
    matches = scenario.rules.matches
    patterns = [subscription.channel for subscription in subscriptions]
    for place, first in enumerate(patterns):
        for second in patterns[place + 1 :]:
            if first == second or matches(first, _some(second)) or matches(second, _some(first)):
                return first, second
    return None


def _some(pattern: str) -> str:
    """Return a channel that the pattern receives."""
    return pattern[:-1] + _ANYTHING if pattern.endswith("/*") else pattern
