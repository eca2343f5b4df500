"""Test how the stand-in compiles and executes operations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.stand_ins.appsync_graphql.completion import complete, visible
from loadgen.stand_ins.appsync_graphql.schema import CONSOLE, OperationError, Schema, SchemaError

CHAT = """
scalar Odd
input Message { text: String! at: AWSTimestamp }
type Text { text: String! at: AWSTimestamp }
type Post { room: ID! tags: [String!] message: Text urgent: Boolean }
type Query { post: Post }
type Mutation {
  post(room: ID!, tags: [String!], message: Message, urgent: Boolean = false): Post
  clear(room: ID!): Post
}
type Subscription {
  posted(room: ID, urgent: Boolean): Post @aws_subscribe(mutations: ["post", "clear"])
  cleared: Post @aws_subscribe(mutations: ["clear"])
}
"""
SCHEMA = Schema(CHAT)


def test_the_consoles_schema_has_one_subscription() -> None:
    assert Schema(CONSOLE).listeners == {"publish": ("subscribe",)}


def test_a_subscription_names_its_mutations() -> None:
    assert SCHEMA.listeners == {"post": ("posted",), "clear": ("posted", "cleared")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("type {", "is not a schema"),
        ("type Query { x: Missing }", "is not a schema: Unknown type:? 'Missing'"),
        ("type Query { x: Int }", "has no subscription with @aws_subscribe"),
        (CHAT.replace('"clear"', '"missing"'), "that names one of its mutations"),
    ],
)
def test_a_text_that_is_no_such_schema_is_refused(text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        Schema(text)


def executed(query: str, variables: Any = None, name: str | None = None) -> tuple[dict[str, Any], list[Any]]:
    """Return the answer to a mutation that returns its arguments, and the answer's errors."""
    compiled = SCHEMA.compile(query, name)
    given = compiled.coerced(variables)
    errors: list[dict[str, Any]] = []
    return {
        call.selected.key: complete(
            call.selected, call.values(given), "Mutation", f"/{call.selected.key}", errors
        )
        for call in compiled.calls
    }, [error["message"] for error in errors]


def test_a_mutation_returns_the_arguments_that_were_selected() -> None:
    query = """
      mutation M($room: ID!, $text: String!, $tags: [String!]) {
        a: post(room: $room, tags: $tags, message: {text: $text, at: 7}) { ...F message { text } kind: __typename }
        clear(room: "x") { room urgent }
      }
      fragment F on Post { r: room ... on Post { tags } }
    """
    answer, errors = executed(query, {"room": "1", "text": "hi", "tags": ["a", "b"]})
    assert answer == {
        "a": {"r": "1", "tags": ["a", "b"], "message": {"text": "hi"}, "kind": "Post"},
        "clear": {"room": "x", "urgent": None},
    }
    assert errors == []
    # Compiling the same text twice gives the same object, by which the fan-out knows that it has already
    # encoded the result.
    assert SCHEMA.compile(query, None) is SCHEMA.compile(query, None)


def test_a_field_that_may_not_be_null_makes_the_object_above_it_null() -> None:
    selected = SCHEMA.compile("subscription { posted { room } }").calls[0].selected
    errors: list[dict[str, Any]] = []
    assert complete(selected, {"tags": []}, "Subscription", "/posted", errors) is None
    (error,) = errors
    assert (
        error["message"]
        == "Cannot return null for non-nullable type: 'ID' within parent 'Post' (/posted/room)"
    )
    assert error["path"] == ["posted", "room"]


def test_subscribers_see_only_what_the_mutation_selected() -> None:
    call = SCHEMA.compile('mutation { post(room: "1", urgent: true, tags: ["a"]) { r: room tags } }').calls[0]
    assert visible(call.selected, call.values({})) == {"room": "1", "tags": ["a"]}


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("mutation {", None, "Unable to parse GraphQL query"),
        ("mutation { nothing }", None, "Validation error: Cannot query field 'nothing'"),
        ("mutation { post { room } }", None, "Validation error"),
        ('mutation { post(room: "1") }', None, "Validation error"),
        ("subscription { posted { room } cleared { room } }", None, "Validation error"),
        (
            "mutation ($r: ID!) { clear(room: $r) { room } }",
            None,
            "'r' has coerced Null value for NonNull type 'ID!'",
        ),
        ("mutation ($r: ID!) { clear(room: $r) { room } }", {"r": None}, "coerced Null value"),
        ("mutation ($r: ID!) { clear(room: $r) { room } }", {"r": []}, "'r' has an invalid value"),
        ("mutation ($r: ID!) { clear(room: $r) { room } }", [], "Variables must be an object"),
        (
            'mutation ($m: Message) { post(room: "1", message: $m) { room } }',
            {"m": {"text": 7}},
            "'m' has an invalid value",
        ),
        (
            'mutation ($m: Message) { post(room: "1", message: $m) { room } }',
            {"m": {"other": "x"}},
            "'m' has an invalid value",
        ),
        (
            'mutation ($t: [String!]) { post(room: "1", tags: $t) { room } }',
            {"t": ["a", None]},
            "coerced Null",
        ),
        (
            'mutation ($u: Boolean) { post(room: "1", urgent: $u) { room } }',
            {"u": 1},
            "'u' has an invalid value",
        ),
    ],
)
def test_an_operation_that_cannot_be_is_refused(query: str, variables: Any, said: str) -> None:
    with pytest.raises(OperationError, match=said):
        executed(query, variables)


def test_a_document_that_would_take_long_or_much_memory_is_refused() -> None:
    many = "mutation { " + " ".join(f'a{number}: clear(room: "1") {{ room }}' for number in range(500)) + " }"
    for query, said in ((many, "Unable to parse"), ("#" * 50_001, "more than 50,000 characters")):
        with pytest.raises(OperationError, match=said):
            SCHEMA.compile(query)


def test_awsjson_must_be_a_text_of_json() -> None:
    schema = Schema()
    compiled = schema.compile('mutation ($d: AWSJSON!) { publish(name: "a", data: $d) { data } }')
    assert compiled.coerced({"d": ' {"a": 1}'}) == {"d": ' {"a": 1}'}
    for wrong in ("{", "", {"a": 1}, 7):
        with pytest.raises(OperationError, match="'d' has an invalid value"):
            compiled.coerced({"d": wrong})


def test_one_of_several_operations_is_named() -> None:
    query = 'mutation A { clear(room: "a") { room } } mutation B { clear(room: "b") { room } }'
    assert executed(query, name="B")[0] == {"clear": {"room": "b"}}
    for name in (None, "C"):
        with pytest.raises(OperationError, match="Must provide an operation name"):
            executed(query, name=name)


@given(
    st.text(alphabet='{}()$:!"\n abdt#mutationsubscriptionfragmentpostedroom...@[]', max_size=120),
    st.none() | st.text(),
)
def test_no_query_is_a_defect_of_ours(query: str, name: str | None) -> None:
    refused, calls = [], 0
    try:
        calls = len(SCHEMA.compile(query, name).calls)
    except OperationError as error:
        refused = error.errors
    assert bool(refused) != bool(calls)
