"""Describe the scenario format as JSON Schema (draft 2020-12), for editors."""

from collections.abc import Iterator
from typing import Any

from pydantic import TypeAdapter

from loadgen.config.base import Part
from loadgen.config.json_schema import schema_of
from loadgen.config.messages import keys_of
from loadgen.scenario.behaviours import Churn, Drop, Reconnect
from loadgen.scenario.login import Minting
from loadgen.scenario.models import Group, Phases, Publish, Variable
from loadgen.scenario.scenario import Scenario

_WITH_DEFAULTS: tuple[type[Part], ...] = (
    *(Scenario, Variable, Group, Publish, Phases, Reconnect, Drop, Churn),
    Minting,
)


def json_schema() -> dict[str, Any]:
    """Return the schema of scenario files.

    The schema checks each value by itself. `loadgen.resolve.loading.load` checks more, such as that each {name} in a
    channel is a variable.
    """
    schema = schema_of(Scenario, "Load-test scenario, version 1")
    for model in _WITH_DEFAULTS:
        whole = schema if model is Scenario else schema["$defs"][model.__name__]
        for key, default in _defaults(model):
            whole["properties"][key]["default"] = default
    return schema


def _defaults(model: type[Part]) -> Iterator[tuple[str, Any]]:
    """Yield each key's default as a scenario file writes it, with units; pydantic's own schema has Python values."""
    for key, info in keys_of(model).items():
        if info.is_required() or info.default_factory or info.default in (None, (), ""):
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
        yield key, adapter.dump_python(info.default, mode="json", by_alias=True, exclude_none=True)
