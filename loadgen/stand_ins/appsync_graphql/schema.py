"""The schema of the API, and its operations compiled for repeated use.

graphql-core parses and validates. This module executes the operations itself, since that must be fast and needs only
one kind of resolver: a mutation returns its arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    build_schema,
    parse,
    type_from_ast,
    validate,
    value_from_ast_untyped,
)

from loadgen.stand_ins.appsync_graphql.completion import Selected, bare

#: The schema that AWS's console makes for "Create a real-time API".
CONSOLE: Final = """
type Channel { name: String! data: AWSJSON! }
type Mutation { publish(name: String!, data: AWSJSON!): Channel }
type Query { getChannel: Channel }
type Subscription { subscribe(name: String!): Channel @aws_subscribe(mutations: ["publish"]) }
"""
_AWS: Final = "".join(
    f"scalar {name}\n"
    for name in (
        *("AWSDate", "AWSTime", "AWSDateTime", "AWSTimestamp", "AWSEmail", "AWSJSON"),
        *("AWSURL", "AWSPhone", "AWSIPAddress"),
    )
) + "\n".join((
    "directive @aws_subscribe(mutations: [String!]) on FIELD_DEFINITION",
    "directive @aws_api_key on FIELD_DEFINITION | OBJECT",
    "directive @aws_iam on FIELD_DEFINITION | OBJECT",
    "directive @aws_oidc on FIELD_DEFINITION | OBJECT",
    "directive @aws_lambda on FIELD_DEFINITION | OBJECT",
    "directive @aws_cognito_user_pools(cognito_groups: [String!]) on FIELD_DEFINITION | OBJECT",
    "directive @aws_auth(cognito_groups: [String!]) on FIELD_DEFINITION",
))  # fmt: skip
#: Limits on documents and on the cache of compiled documents. The time to validate a document grows with the square of
#: its number of tokens.
_MOST_TOKENS: Final = 1_000
_MOST_CHARACTERS: Final = 50_000
_MOST_DOCUMENTS: Final = 1_000
_MOST_DEPTH: Final = 20
_valid_json = msgspec.json.Decoder(msgspec.Raw).decode


class SchemaError(ValueError):
    """The text is not a GraphQL schema; the message completes a sentence that begins with the name of its file."""


class OperationError(Exception):
    """An operation is refused; ``errors`` is the `errors` list of the GraphQL answer."""

    def __init__(self, message: str, **more: Any) -> None:
        super().__init__(message)
        self.errors = [{"message": message, **more}]


@dataclass(frozen=True, slots=True)
class Call:
    """A root field of an operation, with its arguments.

    `arguments` has for each argument its name and a function from the operation's variables to the argument's value.
    """

    selected: Selected
    arguments: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...]

    def values(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the arguments that are given, by name."""
        found = {}
        for name, value in self.arguments:
            if (given := value(variables)) is not _ABSENT:
                found[name] = given
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A checked GraphQL operation. Objects are compared by identity, since each cached text has only one."""

    kind: str
    calls: tuple[Call, ...]
    #: Name, type and default value of each variable; `_ABSENT` if there is no default.
    variables: tuple[tuple[str, Any, Any], ...]

    def coerced(self, given: Any) -> dict[str, Any]:
        """Validate the given variables and return their values, with defaults filled in.

        Raises:
            OperationError: a variable is missing or of the wrong type.
        """
        if given is None:
            given = {}
        if not isinstance(given, dict):
            raise OperationError("Variables must be an object")
        found: dict[str, Any] = {}
        for name, kind, default in self.variables:
            value = given.get(name, default)
            if value is _ABSENT:
                if isinstance(kind, GraphQLNonNull):
                    raise OperationError(
                        f"Variable '{name}' has coerced Null value for NonNull type '{kind}'"
                    )
                continue
            _demand(name, kind, value)
            found[name] = value
        return found


class _Absent:
    def __repr__(self) -> str:
        return "absent"


_ABSENT: Final = _Absent()


class Schema:
    """A schema, in which each subscription names the mutations that it listens to."""

    def __init__(self, text: str = CONSOLE) -> None:
        """Parse a schema in the schema definition language.

        Raises:
            SchemaError: the text is not a schema, or has no mutation that a subscription listens to.
        """
        try:
            self._schema: GraphQLSchema = build_schema(_AWS + "\n" + text)
        except (GraphQLError, TypeError, RecursionError) as error:
            raise SchemaError(f"is not a schema: {str(error).splitlines()[0][:200]}") from None
        #: The subscriptions that listen to each mutation, by the mutation's name.
        self.listeners: dict[str, tuple[str, ...]] = {}
        subscriptions = self._schema.subscription_type
        for name, field in (subscriptions.fields if subscriptions is not None else {}).items():
            for directive in field.ast_node.directives if field.ast_node is not None else ():
                if directive.name.value == "aws_subscribe":
                    for mutation in _strings(directive.arguments):
                        self.listeners[mutation] = (*self.listeners.get(mutation, ()), name)
        mutations = self._schema.mutation_type
        if not self.listeners or mutations is None or not set(self.listeners) <= set(mutations.fields):
            raise SchemaError(
                'has no subscription with @aws_subscribe(mutations: ["…"]) that names one of its mutations'
            )
        self._compiled = lru_cache(maxsize=_MOST_DOCUMENTS)(self._compile)

    def compile(self, query: str, name: str | None = None) -> Compiled:
        """Return the operation ``name`` of a GraphQL document, or its only operation if ``name`` is None.

        Results are cached, so the same text usually gives the same object.

        Raises:
            OperationError: the document is invalid.
        """
        if len(query) > _MOST_CHARACTERS:
            raise OperationError(f"The document has more than {_MOST_CHARACTERS:,} characters")
        return self._compiled(query, name)

    def _compile(self, query: str, name: str | None) -> Compiled:
        try:
            document = parse(query, max_tokens=_MOST_TOKENS)
            errors = validate(self._schema, document)
        except GraphQLError as error:
            raise OperationError(f"Unable to parse GraphQL query: {error.message}") from None
        except RecursionError:
            raise OperationError("The document is nested too deeply") from None
        if errors:
            raise OperationError(f"Validation error: {errors[0].message}")
        found = [
            node
            for node in document.definitions
            if isinstance(node, OperationDefinitionNode)
            and (name is None or (node.name is not None and node.name.value == name))
        ]
        if len(found) != 1:
            raise OperationError("Must provide an operation name that the document has")
        (operation,) = found
        fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        kind = operation.operation.value
        root = {
            "query": self._schema.query_type,
            "mutation": self._schema.mutation_type,
            "subscription": self._schema.subscription_type,
        }[kind]
        assert root is not None
        nodes = self._nodes(operation.selection_set, fragments, 0)
        calls = tuple(
            Call(
                self._selected(node, root, fragments, 0),
                tuple((each.name.value, _value_of(each.value)) for each in node.arguments or ()),
            )
            for node in nodes
        )
        variables = tuple(
            (
                each.variable.name.value,
                type_from_ast(self._schema, each.type),
                _ABSENT if each.default_value is None else value_from_ast_untyped(each.default_value),
            )
            for each in operation.variable_definitions or ()
        )
        return Compiled(kind, calls, variables)

    def _nodes(
        self, selection: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode], depth: int
    ) -> list[FieldNode]:
        """Return the fields of a selection set, including those of its fragments.

        If several fields have the same response key (alias or name), only the first one is returned.
        """
        if depth > _MOST_DEPTH:
            raise OperationError("The document is nested too deeply")
        found: dict[str, FieldNode] = {}
        for node in selection.selections:
            if isinstance(node, FieldNode):
                found.setdefault((node.alias or node.name).value, node)
                continue
            if isinstance(node, FragmentSpreadNode):
                below = fragments[node.name.value].selection_set
            else:
                assert isinstance(node, InlineFragmentNode)
                below = node.selection_set
            for each in self._nodes(below, fragments, depth + 1):
                found.setdefault((each.alias or each.name).value, each)
        return list(found.values())

    def _selected(
        self,
        node: FieldNode,
        parent: GraphQLObjectType,
        fragments: Mapping[str, FragmentDefinitionNode],
        depth: int,
    ) -> Selected:
        name, key = node.name.value, (node.alias or node.name).value
        if name == "__typename":
            return Selected(key, name, parent.name, None)
        if name not in parent.fields:
            raise OperationError(f"The field '{name}' is not supported here")
        kind = parent.fields[name].type
        below = None
        if node.selection_set is not None:
            inner = bare(kind)
            if not isinstance(inner, GraphQLObjectType):
                raise OperationError("Only object types are supported here")
            below = tuple(
                self._selected(each, inner, fragments, depth + 1)
                for each in self._nodes(node.selection_set, fragments, depth)
            )
        return Selected(key, name, kind, below)


def _strings(arguments: Any) -> list[str]:
    value = value_from_ast_untyped(arguments[0].value) if arguments else []
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _value_of(node: ValueNode) -> Callable[[Mapping[str, Any]], Any]:
    """Compile the value of an argument to a function that takes the document's variables and returns the value."""
    if isinstance(node, VariableNode):
        name = node.name.value
        return lambda variables: variables.get(name, _ABSENT)
    if isinstance(node, ListValueNode):
        elements = [_value_of(each) for each in node.values]
        return lambda variables: [each(variables) for each in elements]
    if isinstance(node, ObjectValueNode):
        fields = [(each.name.value, _value_of(each.value)) for each in node.fields]
        return lambda variables: {name: each(variables) for name, each in fields}
    constant = value_from_ast_untyped(node)
    return lambda _: constant


def _demand(name: str, kind: Any, value: Any) -> None:
    """Raise an error unless a value is valid for an input type."""
    if isinstance(kind, GraphQLNonNull):
        if value is None:
            raise OperationError(f"Variable '{name}' has coerced Null value for NonNull type '{kind}'")
        kind = kind.of_type
    if value is None:
        return
    if isinstance(kind, GraphQLList):
        for each in value if isinstance(value, list) else [value]:
            _demand(name, kind.of_type, each)
        return
    if isinstance(kind, GraphQLInputObjectType):
        if not isinstance(value, dict) or not set(value) <= set(kind.fields):
            raise OperationError(f"Variable '{name}' has an invalid value.")
        for each, field in kind.fields.items():
            if each in value or isinstance(field.type, GraphQLNonNull):
                _demand(name, field.type, value.get(each))
        return
    wanted = _SCALARS.get(kind.name, str) if isinstance(kind, GraphQLScalarType) else str
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise OperationError(f"Variable '{name}' has an invalid value.")
    if kind.name == "AWSJSON":
        try:
            _valid_json(value)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise OperationError(f"Variable '{name}' has an invalid value.") from None


_SCALARS: Final[Mapping[str, Any]] = {
    "Int": int,
    "Float": int | float,
    "Boolean": bool,
    "ID": str | int,
    "AWSTimestamp": int,
}
