"""The mutation that publishes an event and the subscription that receives it.

AWS's console makes an API with one generic schema ("Create a real-time API"): `publish(name, data)`, `subscribe(name)`
and the type `Channel {name, data}`. Your own API may have other names, or need its own documents.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from graphql import FragmentDefinitionNode, OperationDefinitionNode, SelectionSetNode

#: The GraphQL variables that hold the channel and the event in the mutation and the subscription.
CHANNEL: Final = "channel"
DATA: Final = "data"
#: The names and types in the schema that AWS's console makes for "Create a real-time API".
DEFAULTS: Final[Mapping[str, str]] = {
    "mutation": "publish",
    "subscription": "subscribe",
    "channel": "name",
    "data": "data",
    "channel-type": "String!",
    "data-type": "AWSJSON!",
}
_NAME: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,99}", re.ASCII)
_TYPE: Final = re.compile(r"[_A-Za-z][_0-9A-Za-z]{0,99}!?", re.ASCII)
_MOST_DEPTH: Final = 20
_encode = msgspec.json.Encoder().encode


class OperationsError(ValueError):
    """The operations cannot be used; the message completes a sentence that begins with their file or query."""


@dataclass(frozen=True, slots=True)
class Operations:
    """The GraphQL documents of a mutation and a subscription, and where their answers hold the result."""

    mutation: str
    subscription: str
    result: str
    """The response key of the mutation's only field."""
    event_at: tuple[str, ...]
    """The keys that lead to the text of an event, from the `payload.data` that AppSync sends for it."""

    def mutation_body(self, channel: str, event: str) -> bytes:
        """Return the body of the HTTP request that publishes an event."""
        return _encode({"query": self.mutation, "variables": {CHANNEL: channel, DATA: event}})

    def start_data(self, channel: str) -> str:
        """Return the text that goes into `payload.data` of a `start` message, and into its signature with IAM."""
        return _encode({"query": self.subscription, "variables": {CHANNEL: channel}}).decode()

    def describe(self) -> str:
        """Return the names of the mutation's and the subscription's field, for the manifest."""
        return f"mutation {self.result}, subscription {self.event_at[0]}"


def by_names(names: Mapping[str, str]) -> Operations:
    """Return operations for a schema like the one that AWS's console makes; ``names`` replace some of `DEFAULTS`.

    Raises:
        OperationsError: a name is not a GraphQL name, or a type is not the name of a type.
    """
    for key, value in names.items():
        pattern = _TYPE if key.endswith("-type") else _NAME
        if not pattern.fullmatch(value):
            kind = "type, such as String!" if key.endswith("-type") else "name"
            raise OperationsError(f"has '{key}={_shown(value)}', which is not a GraphQL {kind}")
    given = {**DEFAULTS, **names}
    mutation, subscription, channel, data = (
        given[key] for key in ("mutation", "subscription", "channel", "data")
    )
    if channel == data:
        raise OperationsError(f"has the name {channel!a} for both the channel and the data")
    variables = f"${CHANNEL}: {given['channel-type']}"
    return Operations(
        f"mutation Publish({variables}, ${DATA}: {given['data-type']})"
        f" {{ {mutation}({channel}: ${CHANNEL}, {data}: ${DATA}) {{ {channel} {data} }} }}",
        f"subscription Subscribe({variables}) {{ {subscription}({channel}: ${CHANNEL}) {{ {channel} {data} }} }}",
        mutation,
        (subscription, data),
    )


@lru_cache(maxsize=16)
def by_document(text: str) -> Operations:
    """Return the operations of a GraphQL document, which has one mutation and one subscription.

    Both have a variable `$channel`; the mutation also has `$data`, a string. The event is at the field of the
    subscription whose name or alias is `data`.

    Raises:
        OperationsError: the text is not such a document.
    """
    # Imported late: only operations from a file need the parser.
    from graphql import FragmentDefinitionNode, GraphQLSyntaxError, OperationDefinitionNode, parse, print_ast
    from graphql.utilities import separate_operations

    try:
        document = parse(text, no_location=False, max_tokens=20_000)
        found = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        if any(node.name is None for node in found):
            raise OperationsError(
                "has an operation without a name: give each one, such as 'mutation Publish'"
            )
        alone = {name: print_ast(each) for name, each in separate_operations(document).items()}
    except GraphQLSyntaxError as error:
        line = error.locations[0].line if error.locations else 1
        raise OperationsError(f"is not GraphQL (line {line}): {_shown(error.message)}") from None
    except RecursionError:
        raise OperationsError("is nested too deeply") from None
    fragments = {
        node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
    }
    mutation, subscription = _only("mutation", found), _only("subscription", found)
    _demand_variables(mutation, (CHANNEL, DATA))
    _demand_variables(subscription, (CHANNEL,))
    result, _ = _root(mutation, fragments)
    root, selection = _root(subscription, fragments)
    below = None if selection is None else _find(selection, fragments, 0)
    if below is None:
        raise OperationsError(
            f"has no field 'data' in its subscription: name the field that holds the event so, as in"
            f" '{{ {root} {{ data: body }} }}'"
        )
    assert mutation.name is not None
    assert subscription.name is not None
    return Operations(alone[mutation.name.value], alone[subscription.name.value], result, (root, *below))


def _only(kind: str, found: "list[OperationDefinitionNode]") -> "OperationDefinitionNode":
    of_kind = [node for node in found if node.operation.value == kind]
    if len(of_kind) != 1:
        raise OperationsError(f"has {len(of_kind)} operations of the kind '{kind}': it must have one")
    return of_kind[0]


def _demand_variables(operation: "OperationDefinitionNode", wanted: tuple[str, ...]) -> None:
    """Raise OperationsError if an operation lacks a variable in ``wanted``, or has another one without a default."""
    from graphql import NonNullTypeNode

    kind = operation.operation.value
    declared = {each.variable.name.value: each for each in operation.variable_definitions or ()}
    for name in wanted:
        if name not in declared:
            raise OperationsError(
                f"has no variable ${name} in its {kind}: declare it, as in '${name}: String!'"
            )
    for name, each in declared.items():
        if name not in wanted and isinstance(each.type, NonNullTypeNode) and each.default_value is None:
            raise OperationsError(
                f"has the variable ${_shown(name)} in its {kind}, which gets no value: give it a default"
            )


def _fields(
    selection: "SelectionSetNode", fragments: "Mapping[str, FragmentDefinitionNode]", depth: int
) -> Iterator[Any]:
    """Yield the fields of a selection set and of its fragments."""
    from graphql import FieldNode, FragmentSpreadNode, InlineFragmentNode

    if depth > _MOST_DEPTH:
        raise OperationsError("is nested too deeply")
    for node in selection.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments, depth + 1)
        elif isinstance(node, FragmentSpreadNode):
            fragment = fragments.get(node.name.value)
            if fragment is None:
                raise OperationsError(
                    f"uses the fragment {_shown(node.name.value)}, which it does not define"
                )
            yield from _fields(fragment.selection_set, fragments, depth + 1)


def _root(
    operation: "OperationDefinitionNode", fragments: "Mapping[str, FragmentDefinitionNode]"
) -> "tuple[str, SelectionSetNode | None]":
    """Return the response key and the selection set of an operation's only field."""
    fields = list(_fields(operation.selection_set, fragments, 0))
    if len(fields) != 1:
        raise OperationsError(
            f"has {len(fields)} fields at the top of its {operation.operation.value}: it must have one"
        )
    return _key(fields[0]), fields[0].selection_set


def _find(
    selection: "SelectionSetNode", fragments: "Mapping[str, FragmentDefinitionNode]", depth: int
) -> tuple[str, ...] | None:
    """Return the response keys that lead to the first scalar field `data`, or None if there is no such field."""
    fields = list(_fields(selection, fragments, depth))
    for node in fields:
        if _key(node) == DATA and node.selection_set is None:
            return (DATA,)
    for node in fields:
        if node.selection_set is not None:
            below = _find(node.selection_set, fragments, depth + 1)
            if below is not None:
                return (_key(node), *below)
    return None


def _key(node: Any) -> str:
    name: str = (node.alias or node.name).value
    return name


def _shown(text: str) -> str:
    """Return a text of the user's document for an error message: escaped and cut."""
    return ascii(text[:80])[1:-1]
