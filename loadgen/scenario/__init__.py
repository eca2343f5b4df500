"""Scenarios: who connects, what they subscribe to and publish, for how long; read from YAML and spelled out.

A scenario has groups of clients and phases. ``load`` reads and checks one, ``Plan`` says what each client does.
"""

from loadgen.scenario.behaviour_plan import (
    Behaviour,
    DropPlan,
    LifetimePlan,
    ReconnectPlan,
    SubscriptionChurnPlan,
)
from loadgen.scenario.draws import ChannelDraw
from loadgen.scenario.json_schema import json_schema
from loadgen.scenario.load import CatalogueEntry, catalogue, find, load
from loadgen.scenario.models import Group, Phases, Publish, Settle, Target, Variable
from loadgen.scenario.overlap import check_overlaps
from loadgen.scenario.overrides import overrides_of
from loadgen.scenario.plan import ClientPlan, GroupPlan, Plan, PublishPlan, Role, SubscriptionPlan
from loadgen.scenario.problems import ScenarioError
from loadgen.scenario.scenario import Scenario

__all__ = [
    "Behaviour",
    "CatalogueEntry",
    "ChannelDraw",
    "ClientPlan",
    "DropPlan",
    "Group",
    "GroupPlan",
    "LifetimePlan",
    "Phases",
    "Plan",
    "Publish",
    "PublishPlan",
    "ReconnectPlan",
    "Role",
    "Scenario",
    "ScenarioError",
    "Settle",
    "SubscriptionChurnPlan",
    "SubscriptionPlan",
    "Target",
    "Variable",
    "catalogue",
    "check_overlaps",
    "find",
    "json_schema",
    "load",
    "overrides_of",
]
