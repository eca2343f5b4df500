"""Test GraphQL operations: made from the names in AWS's console, made from other names, and read from a document."""

import json

import graphql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.protocol.appsync_graphql.operations import DEFAULTS, OperationsError, by_document, by_names

CONSOLE = graphql.build_schema(
    "scalar AWSJSON type Channel { name: String! data: AWSJSON! } type Query { getChannel: Channel }"
    " type Mutation { publish(name: String!, data: AWSJSON!): Channel }"
    " type Subscription { subscribe(name: String!): Channel }"
)


def test_the_default_fits_the_schema_of_the_console() -> None:
    made = by_names({})
    for document in (made.mutation, made.subscription):
        assert graphql.validate(CONSOLE, graphql.parse(document)) == []
    assert made.event_at == ("subscribe", "data")
    assert made.describe() == "mutation publish, subscription subscribe"


def test_other_names_and_types_take_their_places() -> None:
    made = by_names({
        "mutation": "post", "subscription": "posted", "channel": "room", "data": "body",
        "channel-type": "ID!", "data-type": "String",
    })  # fmt: skip
    schema = graphql.build_schema(
        "type Post { room: ID! body: String } type Query { x: Int }"
        " type Mutation { post(room: ID!, body: String): Post } type Subscription { posted(room: ID!): Post }"
    )
    for document in (made.mutation, made.subscription):
        assert graphql.validate(schema, graphql.parse(document)) == []
    assert (made.result, made.event_at) == ("post", ("posted", "body"))


@given(channel=st.text(max_size=30), event=st.text(max_size=60))
def test_channel_and_event_reach_the_variables_as_they_are(channel: str, event: str) -> None:
    made = by_names({})
    if any("\ud800" <= c <= "\udfff" for c in channel + event):
        return
    body = json.loads(made.mutation_body(channel, event))
    assert body == {"query": made.mutation, "variables": {"channel": channel, "data": event}}
    assert json.loads(made.start_data(channel)) == {
        "query": made.subscription,
        "variables": {"channel": channel},
    }


@given(st.dictionaries(st.sampled_from(sorted(DEFAULTS)), st.text(max_size=20)))
def test_names_never_break_out_of_the_document(names: dict[str, str]) -> None:
    try:
        made = by_names(names)
    except OperationsError:
        return
    for document, kind in ((made.mutation, "mutation"), (made.subscription, "subscription")):
        (parsed,) = graphql.parse(document).definitions
        assert isinstance(parsed, graphql.OperationDefinitionNode)
        assert parsed.operation.value == kind
        assert len(parsed.selection_set.selections) == 1


def test_a_document_may_have_aliases_fragments_defaults_and_depth() -> None:
    made = by_document("""
        # The API of a chat.
        mutation Send($channel: ID!, $data: String!, $kind: String! = "text") {
          sent: post(room: $channel, body: $data, kind: $kind) { ...Whole }
        }
        subscription Hear($channel: ID!) { posted(room: $channel) { ... on Post { message { at ...Body } } } }
        fragment Whole on Post { room message { at body } }
        fragment Body on Message { data: body }
    """)
    assert made.result == "sent"
    assert made.event_at == ("posted", "message", "data")
    assert "fragment Whole" in made.mutation
    assert "fragment Body" not in made.mutation
    assert "fragment Body" in made.subscription
    assert "mutation" not in made.subscription


GOOD_MUTATION = "mutation M($channel: ID!, $data: String!) { post(room: $channel, body: $data) { body } }"
GOOD_SUBSCRIPTION = "subscription S($channel: ID!) { posted(room: $channel) { data: body } }"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not GraphQL (line 1)"),
        ("{", "is not GraphQL"),
        ("version: 1", "is not GraphQL"),
        (GOOD_MUTATION, "has 0 operations of the kind 'subscription'"),
        (
            f"{GOOD_MUTATION} mutation N {{ x }} {GOOD_SUBSCRIPTION}",
            "has 2 operations of the kind 'mutation'",
        ),
        (f"{GOOD_MUTATION.replace(' M(', ' (')} {GOOD_SUBSCRIPTION}", "an operation without a name"),
        (
            f"{GOOD_MUTATION.replace('$data', '$event')} {GOOD_SUBSCRIPTION}",
            "has no variable $data in its mutation",
        ),
        (
            f"{GOOD_MUTATION} {GOOD_SUBSCRIPTION.replace('ID!)', 'ID!, $who: ID!)')}",
            "has the variable $who in its subscription, which gets no value",
        ),
        (
            f"{GOOD_MUTATION} {GOOD_SUBSCRIPTION.replace('data: ', '')}",
            "has no field 'data' in its subscription",
        ),
        (f"{GOOD_MUTATION} subscription S($channel: ID!) {{ a(r: $channel) b }}", "has 2 fields at the top"),
        (f"{GOOD_MUTATION} subscription S($channel: ID!) {{ a(r: $channel) }}", "has no field 'data'"),
        (
            f"{GOOD_MUTATION} subscription S($channel: ID!) {{ ...Missing }}",
            "the fragment Missing, which it does not",
        ),
        (
            f"{GOOD_MUTATION} subscription S($channel: ID!) {{ ...F }} fragment F on Subscription {{ ...F }}",
            "is nested too deeply",
        ),
        ("{ " * 500, "is not GraphQL"),
    ],
)
def test_a_document_that_cannot_be_used_is_said_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(OperationsError) as caught:
        by_document(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(alphabet='{}()$:!"\n abdt#mutationsubscriptionfragment.@[]', max_size=200))
def test_no_text_is_a_defect_of_ours(text: str) -> None:
    told = ""
    try:
        by_document(text)
    except OperationsError as error:
        told = str(error)
    assert "\n" not in told
