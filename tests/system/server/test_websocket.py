"""Test the realtime protocol over real sockets."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync import limits
from loadgen.protocol.appsync.auth import SUBPROTOCOL, encode_header_subprotocol
from loadgen.server.process import Announcement, ServerProcess

from .conftest import Client

MakeClient = Callable[..., Client]
UNSUPPORTED = {
    "type": "error",
    "errors": [
        {
            "errorType": "UnsupportedOperation",
            "message": "Operation not supported through the realtime channel",
        }
    ],
}
UNAUTHORIZED = {
    "errorType": "UnauthorizedException",
    "message": "You are not authorized to make this call.",
}


def offering(*names: str) -> list[Subprotocol]:
    return [Subprotocol(name) for name in names]


def expect_refusal(client: Client) -> dict[str, Any]:
    """Return the only error in a `connection_error`, after which the server closes with code 1000."""
    message = client.receive()
    assert message["type"] == "connection_error"
    with pytest.raises(ConnectionClosed):
        client.receive()
    assert client.socket.close_code == 1000
    (error,) = message["errors"]
    assert isinstance(error, dict)
    return error


def test_a_key_in_the_header_subprotocol_connects_in_either_order(
    server: Announcement, client: MakeClient
) -> None:
    first = client()
    header = encode_header_subprotocol(first.authorization)
    for one in (first, client(subprotocols=offering(header, SUBPROTOCOL))):
        assert one.socket.subprotocol == SUBPROTOCOL
        assert one.ask({"type": "connection_init"}) == {
            "type": "connection_ack",
            "connectionTimeoutMs": 300_000,
        }


def test_a_key_in_the_upgrade_headers_connects(server: Announcement, client: MakeClient) -> None:
    one = client(subprotocols=offering(SUBPROTOCOL), additional_headers={"X-Api-Key": server.api_key})
    assert one.socket.subprotocol == SUBPROTOCOL
    assert one.subscribe("/default/a")["type"] == "subscribe_success"


def test_compression_is_not_negotiated(client: MakeClient) -> None:
    response = client(compression="deflate").socket.response
    assert response is not None
    assert "Sec-WebSocket-Extensions" not in response.headers


def test_a_wrong_or_missing_key_gets_101_then_connection_error_then_1000(client: MakeClient) -> None:
    wrong = encode_header_subprotocol({"host": "h", "x-api-key": "da2-wrong"})
    without = encode_header_subprotocol({"host": "h"})
    for options in (
        {"subprotocols": offering(SUBPROTOCOL, wrong)},
        {"subprotocols": offering(SUBPROTOCOL, without)},
        {"subprotocols": offering(SUBPROTOCOL), "additional_headers": {"x-api-key": "da2-wrong"}},
        {"subprotocols": offering(SUBPROTOCOL)},
    ):
        assert expect_refusal(client(**options)) == UNAUTHORIZED | {"errorCode": 401}


def test_an_unreadable_header_subprotocol_or_one_without_host_is_refused(
    server: Announcement, client: MakeClient
) -> None:
    no_host = encode_header_subprotocol({"x-api-key": server.api_key})
    for header in ("header-AAAA", "header-x", no_host):
        error = expect_refusal(client(subprotocols=offering(SUBPROTOCOL, header)))
        assert error["errorType"] == "BadRequestException"


def test_a_client_must_offer_the_protocol(server: Announcement, client: MakeClient) -> None:
    one = client(subprotocols=None, additional_headers={"x-api-key": server.api_key})
    assert expect_refusal(one)["errorType"] == "NoProtocolError"


def test_a_plain_get_of_the_realtime_path_is_no_websocket(server: Announcement) -> None:
    with pytest.raises(InvalidStatus) as caught:
        connect(server.ws_url.replace("/realtime", "/nowhere"))
    assert caught.value.response.status_code == 404


def test_connection_init_is_optional(client: MakeClient) -> None:
    assert client().subscribe("/default/a") == {"type": "subscribe_success", "id": "s"}


def test_a_batch_arrives_as_one_string_frame_per_event_in_order(client: MakeClient) -> None:
    subscriber, publisher = client(), client()
    subscriber.subscribe("/default/batch")
    events = ['{"n":1}', '"two"', "3", "null", '{"é":"<&>\\u0000\\n"}']
    answer = publisher.publish("default/batch/", events)
    assert (answer["type"], answer["id"], answer["failed"]) == ("publish_success", "p", [])
    assert [one["index"] for one in answer["successful"]] == [0, 1, 2, 3, 4]
    assert len({one["identifier"] for one in answer["successful"]}) == 5
    for event in events:
        assert subscriber.receive() == {"type": "data", "id": "s", "event": event}
    assert subscriber.is_silent()


def test_each_matching_subscription_gets_its_own_frame(client: MakeClient) -> None:
    subscriber, publisher = client(), client()
    for operation_id, channel in (
        ("exact", "/default/w/x"),
        ("wide", "/default/*"),
        ("longer-id-wide", "/default/w/*"),
        ("bare", "/default/w"),
        ("deeper", "/default/w/x/*"),
        ("other", "/other/*"),
    ):
        assert subscriber.subscribe(channel, operation_id)["type"] == "subscribe_success"
    publisher.publish("/default/w/x", ["1"])
    assert {subscriber.receive()["id"] for _ in range(3)} == {"exact", "wide", "longer-id-wide"}
    assert subscriber.is_silent()


@pytest.mark.parametrize("size", [0, 60, 125, 126, 200, 65_400, 65_536, limits.EVENT_MAX_BYTES - 2])
def test_events_of_every_frame_length_arrive_whole(client: MakeClient, size: int) -> None:
    one = client(max_size=None)
    one.subscribe("/default/size")
    event = '"' + "e" * size + '"'
    one.send({"type": "publish", "id": "p", "channel": "/default/size", "events": [event, event]})
    one.receive()  # an error, because the publish has no authorization
    one.send(
        {
            "type": "publish",
            "id": "p",
            "channel": "/default/size",
            "events": [event, event],
            "authorization": one.authorization,
        }
    )
    received = [one.receive() for _ in range(3)]
    assert [message.get("event") for message in received if message["type"] == "data"] == [event, event]


def test_unsubscribe_ends_the_deliveries_and_frees_the_id(client: MakeClient) -> None:
    one = client()
    one.subscribe("/default/u")
    assert one.ask({"type": "unsubscribe", "id": "s"}) == {"type": "unsubscribe_success", "id": "s"}
    assert one.publish("/default/u", ["1"])["type"] == "publish_success"
    assert one.is_silent()
    assert one.ask({"type": "unsubscribe", "id": "s"}) == {
        "type": "unsubscribe_error",
        "id": "s",
        "errors": [{"errorType": "UnknownOperationError", "message": "Unknown operation id s"}],
    }
    assert one.subscribe("/default/u")["type"] == "subscribe_success"


def test_a_closed_client_leaves_no_subscription_behind(client: MakeClient) -> None:
    gone, stays = client(), client()
    gone.subscribe("/default/gone")
    stays.subscribe("/default/gone")
    gone.socket.close()
    for _ in range(3):
        stays.send(
            {
                "type": "publish",
                "id": "p",
                "channel": "/default/gone",
                "events": ["1"],
                "authorization": stays.authorization,
            }
        )
        assert {stays.receive()["type"], stays.receive()["type"]} == {"data", "publish_success"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"type":"nope","id":"x"}', '{"type":"subscribe","id":"x"}', '{"type":7}'],
)
def test_malformed_and_unknown_messages_get_an_error_without_id(client: MakeClient, text: str) -> None:
    one = client()
    assert one.ask(text) == UNSUPPORTED
    assert one.is_silent()


def test_a_binary_message_is_unsupported(client: MakeClient) -> None:
    one = client()
    one.socket.send(b"\x00\x01")
    assert one.receive() == UNSUPPORTED


def test_unknown_fields_are_ignored_as_amplify_sends_them(client: MakeClient) -> None:
    one = client()
    payload = {"channel": "default/room", "extensions": {"authorization": {}}}
    assert one.subscribe("default/room", payload=payload)["type"] == "subscribe_success"


@pytest.mark.parametrize("authorization", [None, {}, {"x-api-key": "da2-wrong"}, {"x-api-key": 5}])
def test_every_frame_is_authorized_on_its_own(client: MakeClient, authorization: Any) -> None:
    one = client()
    for answer, kind in (
        (one.subscribe("/default/a", authorization=authorization), "subscribe_error"),
        (one.publish("/default/a", ["1"], "s", authorization=authorization), "publish_error"),
    ):
        assert answer == {"type": kind, "id": "s", "errors": [UNAUTHORIZED]}


def test_header_names_in_a_frame_are_case_insensitive(server: Announcement, client: MakeClient) -> None:
    answer = client().subscribe("/default/a", authorization={"X-API-Key": server.api_key})
    assert answer["type"] == "subscribe_success"


@pytest.mark.parametrize("channel", ["", "/a_b", "/default//x", "/default/*/x", "/*", "/default/a/b/c/d/e"])
def test_an_invalid_channel_is_refused(client: MakeClient, channel: str) -> None:
    error = {"errorType": "BadRequestException", "message": "Invalid Channel Format"}
    one = client()
    assert one.subscribe(channel) == {"type": "subscribe_error", "id": "s", "errors": [error]}
    assert one.publish(channel, ["1"]) == {"type": "publish_error", "id": "p", "errors": [error]}


def test_nothing_is_published_to_a_wildcard(client: MakeClient) -> None:
    (error,) = client().publish("/default/*", ["1"])["errors"]
    assert error == {"errorType": "BadRequestException", "message": "Invalid Channel Format"}


def test_an_undefined_namespace_is_unauthorized_without_a_message(client: MakeClient) -> None:
    one = client()
    errors = [{"errorType": "UnauthorizedException"}]
    assert one.subscribe("/Default/a") == {"type": "subscribe_error", "id": "s", "errors": errors}
    assert one.publish("/none/a", ["1"]) == {"type": "publish_error", "id": "p", "errors": errors}


def test_a_subscription_id_is_used_once(client: MakeClient) -> None:
    one = client()
    one.subscribe("/default/a")
    answer = one.subscribe("/default/b")
    assert (answer["type"], answer["id"]) == ("subscribe_error", "s")
    assert answer["errors"][0]["errorType"] == "DuplicatedOperationError"
    # The first subscription still works.
    one.send(
        {
            "type": "publish",
            "id": "p",
            "channel": "/default/a",
            "events": ["1"],
            "authorization": one.authorization,
        }
    )
    assert {one.receive()["type"], one.receive()["type"]} == {"data", "publish_success"}


@pytest.mark.parametrize("operation_id", ["", "a b", "x" * 129, "é"])
def test_an_id_must_follow_the_grammar(client: MakeClient, operation_id: str) -> None:
    one = client()
    assert one.subscribe("/default/a", operation_id)["type"] == "subscribe_error"
    assert one.publish("/default/a", ["1"], operation_id)["type"] == "publish_error"


def test_a_connection_has_at_most_200_subscriptions(client: MakeClient) -> None:
    one = client()
    for number in range(limits.SUBSCRIPTIONS_PER_CONNECTION):
        assert one.subscribe("/default/many", f"s{number}")["type"] == "subscribe_success"
    answer = one.subscribe("/default/many", "one-more")
    assert answer["errors"] == [{"errorType": "MaxSubscriptionsReachedError"}]
    one.ask({"type": "unsubscribe", "id": "s0"})
    assert one.subscribe("/default/many", "one-more")["type"] == "subscribe_success"


def test_six_events_have_the_wording_of_the_websocket(client: MakeClient) -> None:
    assert client().publish("/default/a", ["1"] * 6)["errors"] == [
        {"errorType": "InvalidInputError", "message": "input exceeded 5 event limit"}
    ]


@pytest.mark.parametrize("events", [None, [], "1", [1], [{"a": 1}], ["{"], ["1", ""], ["1", "nope"]])
def test_events_must_be_strings_of_json(client: MakeClient, events: Any) -> None:
    subscriber, publisher = client(), client()
    subscriber.subscribe("/default/a")
    answer = publisher.publish("/default/a", events)
    assert answer["type"] == "publish_error"
    assert answer["errors"][0]["errorType"] == "BadRequestException"
    assert subscriber.is_silent()


def test_an_event_that_is_too_large_fails_alone(client: MakeClient) -> None:
    subscriber, publisher = client(), client()
    subscriber.subscribe("/default/large")
    large = json.dumps("e" * limits.EVENT_MAX_BYTES)
    answer = publisher.publish("/default/large", ["1", large, "2"])
    assert [one["index"] for one in answer["successful"]] == [0, 2]
    (failed,) = answer["failed"]
    assert failed.pop("identifier")
    assert failed == {
        "index": 1,
        "code": "EventTooLargeException",
        "message": "Transformed event is larger than 240KB",
    }
    assert [subscriber.receive()["event"], subscriber.receive()["event"]] == ["1", "2"]


def test_a_payload_above_the_limit_is_refused_as_a_whole(client: MakeClient) -> None:
    large = json.dumps("e" * (limits.PAYLOAD_MAX_BYTES // 4))
    answer = client().publish("/default/large", [large] * 5)
    assert answer["type"] == "publish_error"
    assert answer["errors"][0]["errorType"] == "PayloadTooLargeException"


def test_a_frame_of_absurd_length_ends_its_connection_only(client: MakeClient) -> None:
    one, other = client(), client()
    with pytest.raises(ConnectionClosed):
        one.ask("x" * (5 * 1024 * 1024))
    # The server closes with 1009. But its socket has unread data, so a TCP reset may overtake the close frame.
    assert one.socket.close_code in (1009, 1006)
    assert other.is_silent()


def test_keepalive_and_timeout_are_as_configured(client: MakeClient) -> None:
    with ServerProcess(["--ka-interval", "0.05", "--connection-timeout", "1.5"]) as process:
        one = client(process.announcement)
        assert [one.next() for _ in range(3)] == [{"type": "ka"}] * 3
        assert one.ask({"type": "connection_init"}) == {"type": "connection_ack", "connectionTimeoutMs": 1500}


def test_the_first_ka_comes_at_once_behind_the_ack(client: MakeClient) -> None:
    one = client()
    assert one.send({"type": "connection_init"}).next()["type"] == "connection_ack"
    assert one.next() == {"type": "ka"}
    # The server sends `ka` only after the first acknowledgement.
    assert one.send({"type": "connection_init"}).next()["type"] == "connection_ack"
    assert one.subscribe("/default/a")["type"] == "subscribe_success"
