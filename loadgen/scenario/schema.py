"""The scenario format as JSON Schema (draft 2020-12), for editors."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter

from loadgen.scenario.base import Part
from loadgen.scenario.behaviours import Churn, Drop, Reconnect
from loadgen.scenario.messages import description_of, keys_of, models_in
from loadgen.scenario.models import Group, Phases, Publish, Variable
from loadgen.scenario.scenario import Scenario

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WITH_DEFAULTS: tuple[type[Part], ...] = (Scenario, Variable, Group, Publish, Phases, Reconnect, Drop, Churn)


def json_schema() -> dict[str, Any]:
    """Return the schema of scenario files.

    It has what one value can be checked for by itself; ``load`` checks more, such as that each {name} in a channel
    is a variable.
    """
    schema = schema_of(Scenario, "Load-test scenario, version 1")
    for model in _WITH_DEFAULTS:
        whole = schema if model is Scenario else schema["$defs"][model.__name__]
        for key, default in _defaults(model):
            whole["properties"][key]["default"] = default
    return schema


def schema_of(root: type[Part], title: str) -> dict[str, Any]:
    """Return the schema of files of a model, each key with the docstring of its field."""
    schema = _written(root.model_json_schema(by_alias=True, mode="validation"))
    for model in _reached(root, set()):
        whole = schema if model is root else schema["$defs"].get(model.__name__)
        for key, described in (whole or {}).get("properties", {}).items():
            if about := description_of(model, key):
                described["description"] = about
    return {"$schema": _DIALECT, "title": title, **schema}


def _reached(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a model and those of its parts: other files have models of the same names."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for info in keys_of(model).values():
        for part in models_in(info.annotation):
            yield from _reached(part, seen)


def _defaults(model: type[Part]) -> Iterator[tuple[str, Any]]:
    """Yield the defaults as one would write them, with units; pydantic's schema has them as Python holds them."""
    for key, info in keys_of(model).items():
        if info.is_required() or info.default_factory or info.default in (None, (), ""):
            continue
        adapter: TypeAdapter[Any] = TypeAdapter(info.rebuild_annotation())
        yield key, adapter.dump_python(info.default, mode="json", by_alias=True, exclude_none=True)


def _written(value: Any) -> Any:
    """Leave out what a file cannot have: null, Python's defaults, and titles made from Python's names."""
    if isinstance(value, list):
        return [_written(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: _written(each)
        for key, each in value.items()
        if key != "default" and not (key == "title" and isinstance(each, str))
    }
    choices = kept.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        others = [choice for choice in choices if choice != {"type": "null"}]
        del kept["anyOf"]
        return {**others[0], **kept} if len(others) == 1 else {**kept, "anyOf": others}
    return kept
