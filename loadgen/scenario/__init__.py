"""Scenarios, read from YAML: the clients of a run, their subscriptions, the load that they offer, and the phases.

`loadgen.resolve.loading.load` reads a scenario and checks it by the rules of its target. `loadgen.resolve.resolver`
then turns the scenario into a resolved run.

The names of this package are imported on first use: a process that only plays a resolved run needs neither pydantic nor
the YAML reader.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.config.problems import ScenarioError
    from loadgen.scenario.loading import find
    from loadgen.scenario.models import Group, Phases, Publish, Settle, Target, Variable
    from loadgen.scenario.overrides import overrides_of
    from loadgen.scenario.scenario import Scenario
    from loadgen.scenario.schema import json_schema

__all__ = [
    "Group",
    "Phases",
    "Publish",
    "Scenario",
    "ScenarioError",
    "Settle",
    "Target",
    "Variable",
    "find",
    "json_schema",
    "overrides_of",
]

_MODULES = {
    "loadgen.scenario.schema": ("json_schema",),
    "loadgen.scenario.loading": ("find",),
    "loadgen.scenario.models": ("Group", "Phases", "Publish", "Settle", "Target", "Variable"),
    "loadgen.scenario.overrides": ("overrides_of",),
    "loadgen.config.problems": ("ScenarioError",),
    "loadgen.scenario.scenario": ("Scenario",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
