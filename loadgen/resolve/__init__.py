"""A run, resolved once: its groups with their transport, totals, schedule and gates, and each client by its number.

`loadgen.resolve.resolver.resolve` makes a :class:`ResolvedRun` of a scenario and its target. It goes from `loadgen run`
to its Locust process and from the master to the workers, and nobody downstream asks the scenario again.
"""

from loadgen.resolve.behaviour import (
    Behaviour,
    DropPlan,
    LifetimePlan,
    ReconnectPlan,
    SubscriptionChurnPlan,
)
from loadgen.resolve.clients import ClientPlan, Clients, PublishPlan, SubscriptionPlan
from loadgen.resolve.run import Group, Publishing, ResolvedRun, Role, Variable
from loadgen.resolve.sampling import ChannelDraw
from loadgen.resolve.totals import Totals

__all__ = [
    "Behaviour",
    "ChannelDraw",
    "ClientPlan",
    "Clients",
    "DropPlan",
    "Group",
    "LifetimePlan",
    "PublishPlan",
    "Publishing",
    "ReconnectPlan",
    "ResolvedRun",
    "Role",
    "SubscriptionChurnPlan",
    "SubscriptionPlan",
    "Totals",
    "Variable",
]
