"""Scenarios: who connects, what they subscribe to and publish, for how long; read from YAML.

A scenario has groups of clients and phases. ``load`` reads and checks one; `loadgen.resolve` makes a run of it.
"""

from loadgen.scenario.json_schema import json_schema
from loadgen.scenario.load import CatalogueEntry, catalogue, find, load
from loadgen.scenario.models import Group, Phases, Publish, Settle, Target, Variable
from loadgen.scenario.overrides import overrides_of
from loadgen.scenario.problems import ScenarioError
from loadgen.scenario.scenario import Scenario

__all__ = [
    "CatalogueEntry",
    "Group",
    "Phases",
    "Publish",
    "Scenario",
    "ScenarioError",
    "Settle",
    "Target",
    "Variable",
    "catalogue",
    "find",
    "json_schema",
    "load",
    "overrides_of",
]
