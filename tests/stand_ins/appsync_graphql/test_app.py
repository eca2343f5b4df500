"""Test the stand-in over real sockets: handshake, messages, mutations, filters, quotas, losses and logins."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from loadgen.measure.stamp import encode_event
from loadgen.protocol.appsync.auth import encode_header_subprotocol
from loadgen.stand_ins.appsync_graphql.app import build
from loadgen.stand_ins.settings import Settings

KEY = "da2-key"
HEADER = {"host": "api", "x-api-key": KEY}
SUBSCRIBE = "subscription S($n: String!) { subscribe(name: $n) { name data } }"
PUBLISH = "mutation P($n: String!, $d: AWSJSON!) { publish(name: $n, data: $d) { name data } }"
ACK = {"type": "connection_ack", "payload": {"connectionTimeoutMs": 300_000}}
UNSUPPORTED = "unknown not supported through the realtime channel"
PATIENCE_S = 30.0


class Client:
    """Opens connections to one server, and publishes to it."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def post(self, body: Any, headers: Mapping[str, str] = HEADER) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self.http.post(self.url, data=data, headers=dict(headers)) as answer:
            return answer.status, await answer.json()

    async def publish(self, name: str, data: str, query: str = PUBLISH) -> Any:
        status, answer = await self.post({"query": query, "variables": {"n": name, "d": data}})
        assert status == 200
        return answer

    async def upgraded(self, path: str = "/realtime", protocols: list[str] | None = None) -> "Socket":
        protocols = ["graphql-ws", encode_header_subprotocol(HEADER)] if protocols is None else protocols
        return Socket(await self.http.ws_connect(self.url + path, protocols=protocols))

    async def connected(self) -> "Socket":
        socket = await self.upgraded()
        await socket.say({"type": "connection_init"})
        assert await socket.hear() == ACK
        assert await socket.hear() == {"type": "ka"}
        return socket


class Socket:
    """One connection."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.raw = socket

    async def say(self, message: Any) -> None:
        await self.raw.send_str(message if isinstance(message, str) else json.dumps(message))

    async def hear(self) -> Any:
        return await self.raw.receive_json(timeout=PATIENCE_S)

    async def start(
        self, name: str, channel: str = "a", query: str = SUBSCRIBE, credentials: Any = HEADER
    ) -> Any:
        data = json.dumps({"query": query, "variables": {"n": channel}})
        payload = {"data": data, "extensions": {"authorization": credentials}}
        await self.say({"id": name, "type": "start", "payload": payload})
        return await self.hear()


def served(scene: Callable[[Client], Awaitable[None]], journal: Path | None = None, **options: str) -> None:
    """Run the coroutine ``scene`` against a server with some options. `_` in an option's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in options.items()}

    async def play() -> None:
        runner = web.AppRunner(build(Settings(KEY, journal, named)))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        try:
            async with aiohttp.ClientSession() as http:
                await scene(Client(http, f"http://127.0.0.1:{port}/graphql"))
        finally:
            await runner.cleanup()

    asyncio.run(play())


def test_a_whole_conversation_as_recorded() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        assert socket.raw.protocol == "graphql-ws"
        assert await socket.start("s1") == {"id": "s1", "type": "start_ack"}
        answer = await client.publish("a", '{"x": 1}')
        assert answer == {"data": {"publish": {"name": "a", "data": '{"x": 1}'}}}
        assert await socket.hear() == {
            "id": "s1",
            "type": "data",
            "payload": {"data": {"subscribe": {"name": "a", "data": '{"x": 1}'}}},
        }
        await socket.say({"id": "s1", "type": "stop"})
        assert await socket.hear() == {"id": "s1", "type": "complete"}
        await client.publish("a", "{}")
        await socket.say({"id": "s1", "type": "stop"})
        error = await socket.hear()
        assert (error["type"], error["id"]) == ("error", "s1")

    served(scene)


def test_keepalives_come_at_once_and_after_each_interval() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        for _ in range(3):
            assert await socket.hear() == {"type": "ka"}

    served(scene, ka_interval="0.02")


@pytest.mark.parametrize("path", ["", "/realtime"])
def test_the_authorization_may_be_in_the_query(path: str) -> None:
    async def scene(client: Client) -> None:
        header = base64.b64encode(json.dumps(HEADER).encode()).decode()
        query = f"?header={header.replace('+', '%2B')}&payload=e30%3D"
        socket = await client.upgraded(path + query, ["graphql-ws"])
        await socket.say({"type": "connection_init"})
        assert await socket.hear() == ACK

    served(scene)


def header_of(fields: Any) -> str:
    return encode_header_subprotocol(fields)


@pytest.mark.parametrize(
    ("protocols", "query", "error"),
    [
        ([], "", {"message": "NoProtocolError", "errorCode": 400}),
        ([header_of(HEADER)], "", {"message": "NoProtocolError", "errorCode": 400}),
        (["graphql-transport-ws"], "", {"message": "SubProtocolNotSupportedError", "errorCode": 400}),
        (
            ["graphql-ws"],
            "",
            {"errorType": "BadRequest", "message": "Required headers are missing.", "errorCode": 400},
        ),
        (
            ["graphql-ws"],
            "?header=e30=",
            {"errorType": "BadRequest", "message": "Required headers are missing.", "errorCode": 400},
        ),
        (
            ["graphql-ws", header_of({"x-api-key": KEY})],
            "",
            {"errorType": "BadRequest", "message": "Required headers are missing.", "errorCode": 400},
        ),
        (
            ["graphql-ws", header_of({"host": "api", "x-api-key": "da2-wrong"})],
            "",
            {"errorType": "UnauthorizedException", "message": "You are not authorized to make this call."},
        ),
        (
            ["graphql-ws"],
            "?header=%7B&payload=e30=",
            {"errorType": "BadRequestException", "message": "Invalid authorization header", "errorCode": 400},
        ),
    ],
)
def test_a_handshake_is_refused_by_connection_error_and_close(
    protocols: list[str], query: str, error: dict[str, Any]
) -> None:
    async def scene(client: Client) -> None:
        socket = await client.upgraded(f"/realtime{query}", protocols)
        await socket.say({"type": "connection_init"})
        assert await socket.hear() == {"type": "connection_error", "payload": {"errors": [error]}}
        closed = await socket.raw.receive(timeout=PATIENCE_S)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1000)

    served(scene)


def test_messages_that_are_none_are_answered_by_an_error_without_an_id() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        for wrong in ("x", "{}", '{"type":7}', '{"type":"subscribe","id":"s"}', '{"type":"start"}'):
            await socket.say(wrong)
            assert await socket.hear() == {
                "type": "error",
                "payload": {"errors": [{"errorType": "UnsupportedOperation", "message": UNSUPPORTED}]},
            }
        await socket.raw.send_bytes(b"{}")
        assert (await socket.hear())["type"] == "error"

    served(scene)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (None, "BadRequestException"),
        ({"data": {"query": SUBSCRIBE}}, "BadRequestException"),
        ({"data": "x", "extensions": {"authorization": HEADER}}, "BadRequestException"),
        (
            {"data": json.dumps({"query": PUBLISH}), "extensions": {"authorization": HEADER}},
            "BadRequestException",
        ),
        ({"data": json.dumps({"query": SUBSCRIBE, "variables": {"n": "a"}})}, "UnauthorizedException"),
        (
            {"data": "{}", "extensions": {"authorization": {**HEADER, "x-api-key": "da2-wrong"}}},
            "UnauthorizedException",
        ),
        ({"data": json.dumps({"query": SUBSCRIBE}), "extensions": {"authorization": HEADER}}, None),
        ({"data": json.dumps({"query": "{"}), "extensions": {"authorization": HEADER}}, None),
    ],
)
def test_a_start_that_cannot_be_is_refused_with_its_id(payload: Any, kind: str | None) -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.say({"id": "s1", "type": "start", "payload": payload})
        refused = await socket.hear()
        assert (refused["id"], refused["type"]) == ("s1", "error")
        (error,) = refused["payload"]["errors"]
        assert error.get("errorType") == kind
        assert error["message"]
        assert await socket.start("s1") == {"id": "s1", "type": "start_ack"}

    served(scene)


def test_the_start_above_the_quota_is_refused_with_an_object_of_errors() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        for number in range(200):
            assert (await socket.start(f"s{number}", "a"))["type"] == "start_ack"
        assert await socket.start("s200") == {
            "id": "s200",
            "type": "error",
            "payload": {
                "errors": {
                    "errorType": "MaxSubscriptionsReachedError",
                    "message": "Max number of 200 subscriptions reached",
                }
            },
        }
        assert (await socket.start("s7"))["payload"]["errors"][0]["errorType"] == "DuplicatedOperationError"
        await socket.say({"id": "s7", "type": "stop"})
        await socket.hear()
        assert (await socket.start("s200"))["type"] == "start_ack"

    served(scene)


def test_the_quota_of_older_apis_is_an_option() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        for number in range(100):
            await socket.start(f"s{number}")
        assert (await socket.start("s100"))["payload"]["errors"][
            "message"
        ] == "Max number of 100 subscriptions reached"

    served(scene, subscriptions_per_connection="100")


def test_subscribing_too_fast_is_refused_without_an_id() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        answers = [await socket.start(f"s{number}") for number in range(3)]
        assert {
            "type": "error",
            "payload": {"errors": {"errorType": "LimitExceededError", "message": "Rate limit exceeded"}},
        } in answers

    served(scene, starts_per_s="1")


def test_an_event_goes_to_the_subscriptions_whose_arguments_it_equals(tmp_path: Path) -> None:
    schema = tmp_path / "schema.graphql"
    schema.write_text(
        "type Post { room: ID! urgent: Boolean body: String! } type Query { x: Int }"
        " type Mutation { post(room: ID!, urgent: Boolean, body: String!): Post }"
        ' type Subscription { posted(room: ID, urgent: Boolean): Post @aws_subscribe(mutations: ["post"]) }'
    )

    async def scene(client: Client) -> None:
        socket = await client.connected()
        filters = [
            "",
            "(room: $n)",
            '(room: "2")',
            "(urgent: true)",
            "(room: $n, urgent: false)",
            "(room: null)",
        ]
        for name, written in zip("abcdef", filters, strict=True):
            declared = "($n: ID!)" if "$n" in written else ""
            query = f"subscription {'S' if declared else ''}{declared} {{ posted{written} {{ body }} }}"
            assert await socket.start(name, "1", query) == {"id": name, "type": "start_ack"}
        for fields, selected, expected in (
            ('room: "1", urgent: true', "room urgent body", "abdf"),
            ('room: "2", urgent: false', "room urgent body", "acf"),
            ('room: "1", urgent: false', "room urgent body", "abef"),
            ('room: "1"', "room urgent body", "abf"),
            # Fields that the mutation did not select are null for subscribers.
            ('room: "1", urgent: true', "body", "af"),
        ):
            answer = await client.publish(
                "", "{}", f'mutation {{ post({fields}, body: "x") {{ {selected} }} }}'
            )
            assert "errors" not in answer
            heard = [(await socket.hear())["id"] for _ in expected]
            assert sorted(heard) == sorted(expected)
        await socket.say({"type": "connection_init"})
        assert await socket.hear() == ACK

    served(scene, schema=str(schema))


def test_subscribers_get_only_the_fields_of_the_mutations_selection_set() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.start("s1")
        await client.publish("a", "{}", PUBLISH.replace("{ name data }", "{ name }"))
        payload = (await socket.hear())["payload"]
        assert payload["data"] == {"subscribe": None}
        (error,) = payload["errors"]
        assert error["message"] == (
            "Cannot return null for non-nullable type: 'AWSJSON' within parent 'Channel' (/subscribe/data)"
        )

    served(scene)


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        (b"{", HEADER, 400, "MalformedHttpRequestException"),
        (b"\xff", HEADER, 400, "MalformedHttpRequestException"),
        (b'{"query":"{x}","more":"\xff"}', HEADER, 400, "MalformedHttpRequestException"),
        ({"query": PUBLISH}, {}, 401, "UnauthorizedException"),
        ({"query": PUBLISH}, {"x-api-key": "da2-wrong"}, 401, "UnauthorizedException"),
        # A request that GraphQL itself refuses has status 200.
        ({"query": PUBLISH}, HEADER, 200, None),
        ({"query": SUBSCRIBE, "variables": {"n": "a"}}, HEADER, 200, None),
        ({"query": PUBLISH, "variables": {"n": "a", "d": "{"}}, HEADER, 200, None),
        ({"query": "mutation { nothing }"}, HEADER, 200, None),
    ],
)
def test_a_mutation_that_is_refused_has_errors(
    body: Any, headers: dict[str, str], status: int, kind: str | None
) -> None:
    async def scene(client: Client) -> None:
        got, answer = await client.post(body, headers)
        assert got == status
        (error,) = answer["errors"]
        assert error.get("errorType") == kind
        assert answer.get("data") is None

    served(scene)


def test_a_query_has_no_data_and_a_page_may_ask_from_anywhere() -> None:
    async def scene(client: Client) -> None:
        assert await client.post({"query": "{ getChannel { name } }"}) == (
            200,
            {"data": {"getChannel": None}},
        )
        async with client.http.options(client.url) as answer:
            assert answer.status == 204
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
        async with client.http.get(client.url) as answer:
            assert answer.status == 400

    served(scene)


def rows(journal: Path) -> list[tuple[str, str, Any]]:
    return [
        (row["why"], row["subscription"], row["stamp"])
        for row in map(json.loads, journal.read_text().splitlines())
    ]


def numbered(sequence: int) -> str:
    return encode_event(11, 22, sequence, 44, 55, 100)


def test_every_nth_delivery_is_lost_and_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "lost.jsonl"

    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.start("s1")
        for sequence in range(7):
            await client.publish("a", numbered(sequence))
        heard = [await socket.hear() for _ in range(5)]
        texts = [each["payload"]["data"]["subscribe"]["data"] for each in heard]
        assert texts == [numbered(sequence) for sequence in (0, 1, 3, 4, 6)]

    served(scene, journal, lose_every="3")
    assert rows(journal) == [("every", "s1", [11, 22, 2]), ("every", "s1", [11, 22, 5])]


def test_events_after_start_ack_are_lost_and_in_the_journal(tmp_path: Path) -> None:
    journal = tmp_path / "lost.jsonl"

    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.start("s1")
        for sequence in range(3):
            answer = await client.publish("a", numbered(sequence))
            assert answer["data"]["publish"]["name"] == "a"
        await socket.say({"id": "s1", "type": "stop"})
        assert await socket.hear() == {"id": "s1", "type": "complete"}

    served(scene, journal, lose_after_start_ack_ms="3600000")
    assert rows(journal) == [("after-start-ack", "s1", [11, 22, sequence]) for sequence in range(3)]


def test_a_payload_above_240_kb_is_dropped_without_a_word(tmp_path: Path) -> None:
    journal = tmp_path / "lost.jsonl"

    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.start("s1")
        large = numbered(1)[:-1] + ',"more":"' + "x" * 240 * 1024 + '"}'
        answer = await client.publish("a", large)
        assert answer["data"]["publish"]["data"] == large
        await client.publish("a", numbered(2))
        assert (await socket.hear())["payload"]["data"]["subscribe"]["data"] == numbered(2)

    served(scene, journal)
    assert rows(journal) == [("payload", "s1", [11, 22, 1])]


def test_json_may_be_written_anew_as_an_option() -> None:
    async def scene(client: Client) -> None:
        socket = await client.connected()
        await socket.start("s1")
        answer = await client.publish("a", '{"b" : [1, 2.0] }')
        assert answer["data"]["publish"]["data"] == '{"b":[1,2.0]}'
        assert (await socket.hear())["payload"]["data"]["subscribe"]["data"] == '{"b":[1,2.0]}'

    served(scene, awsjson="rewrite")


def test_a_closed_connection_gets_nothing_and_disturbs_nobody() -> None:
    async def scene(client: Client) -> None:
        gone, stays = await client.connected(), await client.connected()
        await gone.start("s1")
        await stays.start("s2")
        await gone.raw.close()
        await client.publish("a", "{}")
        assert (await stays.hear())["id"] == "s2"

    served(scene)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lose_evry": "3"}, "lose-evry is unknown: this service has api, awsjson"),
        ({"ka_interval": "0"}, "it may be 0.01 to 3600"),
        ({"awsjson": "no"}, "keep or rewrite"),
        ({"schema": "no/such.graphql"}, "'no/such.graphql' cannot be read: No such file"),
        ({"schema": __file__}, "test_app.py' is not a schema"),
        ({"api": "no/such.yaml"}, "no/such.yaml"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, str], said: str) -> None:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    with pytest.raises(ValueError, match=said):
        build(Settings(KEY, None, named))
