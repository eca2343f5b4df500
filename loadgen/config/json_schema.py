"""Describe a file's format as JSON Schema (draft 2020-12), for editors."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from loadgen.config.base import Part
from loadgen.config.messages import description_of, keys_of, models_in

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(root: type[Part], title: str) -> dict[str, Any]:
    """Return the schema of the files that ``root`` models; each key's description is the docstring of its field."""
    schema = _written(root.model_json_schema(by_alias=True, mode="validation"))
    for model in _reached(root, set()):
        whole = schema if model is root else schema["$defs"].get(model.__name__)
        for key, described in (whole or {}).get("properties", {}).items():
            if about := description_of(model, key):
                described["description"] = about
    return {"$schema": _DIALECT, "title": title, **schema}


def _reached(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Yield a model and, recursively, the models in its fields.

    The schema names models by class name, which is unique among these models but not among all models.
    """
    if model in seen:
        return
    seen.add(model)
    yield model
    for info in keys_of(model).values():
        for part in models_in(info.annotation):
            yield from _reached(part, seen)


def _written(value: Any) -> Any:
    """Return a schema without parts that no file can use: null, Python's defaults, and titles from Python's names."""
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
