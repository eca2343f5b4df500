"""The resolved run: groups with their transport, totals, schedules and gates, and the plan of each client.

`loadgen.resolve.resolver.resolve` makes a :class:`ResolvedRun` from a scenario and its target. `loadgen run` passes it
to its Locust process, and the master to the workers; none of them reads the scenario again.
"""

from loadgen.resolve.behaviour import (
    Behaviour,
    DropPlan,
    LifetimePlan,
    ReconnectPlan,
    SubscriptionChurnPlan,
)
from loadgen.resolve.clients import ClientPlan, Clients, JourneyPlan, PublishPlan, SubscriptionPlan
from loadgen.resolve.group import Group, Role, journey_role
from loadgen.resolve.publishing import Publishing
from loadgen.resolve.run import ResolvedRun, Variable
from loadgen.resolve.sampling import ChannelDraw
from loadgen.resolve.totals import Totals

__all__ = [
    "Behaviour",
    "ChannelDraw",
    "ClientPlan",
    "Clients",
    "DropPlan",
    "Group",
    "JourneyPlan",
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
    "journey_role",
]
