"""The value of a selected field, completed by the field's type for an answer or an event (GraphQL, 6.4.3)."""

from dataclasses import dataclass
from typing import Any

from graphql import GraphQLList, GraphQLNonNull


@dataclass(frozen=True, slots=True)
class Selected:
    """A selected field; `below` are the fields selected below it, or None if its type has no fields."""

    key: str
    name: str
    type: Any
    below: "tuple[Selected, ...] | None"


class _NullError(Exception):
    """A field has the value null although its type is not nullable."""


def complete(selected: Selected, source: Any, parent: str, path: str, errors: list[dict[str, Any]]) -> Any:
    """Return the value of a field for an answer; errors are added to ``errors``.

    If a field whose type is not nullable has the value null, the object above the field becomes null (GraphQL, 6.4.4).
    """
    try:
        return _complete(selected, selected.type, source, parent, path, errors)
    except _NullError:
        return None


def _complete(
    selected: Selected, kind: Any, value: Any, parent: str, path: str, errors: list[dict[str, Any]]
) -> Any:
    if selected.name == "__typename":
        return kind
    if isinstance(kind, GraphQLNonNull):
        if value is None:
            said = (
                f"Cannot return null for non-nullable type: '{bare(kind)}' within parent '{parent}' ({path})"
            )
            errors.append({"message": said, "path": path[1:].split("/")})
            raise _NullError
        return _complete(selected, kind.of_type, value, parent, path, errors)
    if value is None:
        return None
    try:
        if isinstance(kind, GraphQLList):
            elements = value if isinstance(value, list) else [value]
            return [
                _complete(selected, kind.of_type, each, parent, f"{path}[{number}]", errors)
                for number, each in enumerate(elements)
            ]
        if selected.below is None:
            return value
        fields = value if isinstance(value, dict) else {}
        return {
            each.key: _complete(
                each, each.type, fields.get(each.name), str(kind), f"{path}/{each.key}", errors
            )
            for each in selected.below
        }
    except _NullError:
        return None


def visible(selected: Selected, source: Any) -> Any:
    """Return a mutation's result as subscribers get it: fields that its selection set does not contain are null."""
    if selected.below is None or source is None:
        return source
    if isinstance(source, list):
        return [visible(selected, each) for each in source]
    fields = source if isinstance(source, dict) else {}
    return {each.name: visible(each, fields.get(each.name)) for each in selected.below}


def bare(kind: Any) -> Any:
    """Return a GraphQL type without its list and non-null wrappers."""
    while isinstance(kind, GraphQLNonNull | GraphQLList):
        kind = kind.of_type
    return kind
