"""Turn pydantic's errors into sentences in the terms of the file."""

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from loadgen.config.base import is_tag
from loadgen.config.descriptions import descriptions
from loadgen.config.problems import Path, Problem
from loadgen.config.text import (
    ENVIRONMENT_PATTERN,
    KEY_PATTERN,
    NAME_FORM,
    NAME_PATTERN,
    REFERENCE_PATTERN,
    USERS_PATTERN,
    closest,
    nearest,
    shown,
)

_FORMS = {
    NAME_PATTERN: NAME_FORM,
    KEY_PATTERN: "made of letters, digits, '_' and '-', at most 50 of them, a letter first",
    ENVIRONMENT_PATTERN: "the name of an environment variable such as EVENTS_API_KEY",
    REFERENCE_PATTERN: "module:function or path/to/file.py:function",
    USERS_PATTERN: "a Python file and a class in it, such as my_users.py:Reader",
}
#: Keys whose value may be a word or a mapping; by key, the end of the error message, which shows such a mapping.
_OR_MAPPING = {
    "arrival": " or a mapping such as {bursts: 10}",
    "ready": " or a mapping such as {settle: 2s}",
    "reconnect": " or a mapping such as {first: 100ms, most: 5s}",
}


def problems_in(error: ValidationError, data: object, model: type[BaseModel]) -> Iterator[Problem]:
    """Yield the problems for which ``model`` refused ``data``."""
    found = [(_path(details["loc"], data), details) for details in error.errors(include_url=False)]
    misspelt = {
        (*path[:-1], closest(str(path[-1]), keys_of(_model_at(path[:-1], model, data))))
        for path, details in found
        if details["type"] == "extra_forbidden"
    }
    for path, details in found:
        # A misspelt required key is one mistake: do not report it as missing as well.
        if details["type"] != "missing" or path not in misspelt:
            yield Problem(path, _message(details, path, model, data))


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return a model's fields by their keys in the YAML."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def description_of(model: type[BaseModel], key: str) -> str:
    """Return the description of a key, or an empty text if it has none."""
    names = {info.alias or name: name for name, info in model.model_fields.items()}
    return descriptions(model).get(names[key], "")


def _path(location: tuple[int | str, ...], data: Any) -> Path:
    """Return a pydantic error location without the steps that pydantic adds for unions and for keys of mappings."""
    path: list[int | str] = []
    for step in location:
        if _has(data, step):
            data = data[step]
        elif is_tag(step):
            continue
        path.append(step)
    return tuple(path)


def _has(data: object, step: int | str) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, list | tuple) and isinstance(step, int)


def _message(details: ErrorDetails, path: Path, model: type[BaseModel], data: object) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    match kind:
        case "extra_forbidden":
            return "is not a known key" + nearest(str(path[-1]), keys_of(_model_at(path[:-1], model, data)))
        case "missing":
            about = description_of(_model_at(path[:-1], model, data), str(path[-1]))
            first = about.split(". ")[0].split(";")[0].rstrip(".")
            return f"is missing; add it ({first[:1].lower()}{first[1:]})"
        case "literal_error":
            return f"must be {context['expected']}{_OR_MAPPING.get(str(path[-1]), '')}, not {shown(value)}"
        case "string_pattern_mismatch":
            return f"must be {_FORMS[context['pattern']]}, not {shown(value)}"
        case "greater_than_equal":
            return f"must be at least {context['ge']}, not {shown(value)}"
        case "greater_than":
            return f"must be above {context['gt']:g}, not {shown(value)}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}, not {shown(value)}"
        case "too_short":
            return "is empty; give it at least one entry"
        case "too_long":
            return f"has {context['actual_length']} entries; at most {context['max_length']} are allowed"
        case "model_type" | "mapping_type" | "dict_type":
            keys = "" if kind != "model_type" else " with " + ", ".join(keys_of(_model_at(path, model, data)))
            return f"must be a mapping{keys}, not {shown(value)}"
    wanted = {
        "int_type": "a whole number",
        "float_type": "a number",
        "finite_number": "a finite number",
        "string_type": "text",
        "tuple_type": "a list",
        "string_too_long": f"at most {context.get('max_length')} characters long",
    }.get(kind)
    return f"must be {wanted}, not {shown(value)}" if wanted else details["msg"]


def _model_at(path: Path, model: type[BaseModel], data: Any) -> type[BaseModel]:
    """Return the model that describes the mapping at the path; the path's last key may be unknown."""
    steps = iter(path)
    for step in steps:
        info = keys_of(model).get(str(step))
        if info is None:
            break
        data = data[step] if _has(data, step) else None
        if get_origin(info.annotation) in (dict, Mapping, tuple) or isinstance(data, list):
            # The field is a mapping or a list of models, and the next step is the name or index of one of them.
            key = next(steps, None)
            data = data[key] if key is not None and _has(data, key) else None
        written = data if isinstance(data, Mapping) else {}
        # If the field may have one of several models, take the model with the most keys in the data; on a tie, take
        # the first of them.
        model = max(
            models_in(info.annotation),
            key=lambda form: len(keys_of(form).keys() & written.keys()),
            default=model,
        )
    return model


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a field's type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
