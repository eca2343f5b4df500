"""Test functions for AWS Lambda as handlers, with Powertools' resolver and its model of the event."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from aws_lambda_powertools.event_handler import AppSyncEventsResolver
from aws_lambda_powertools.event_handler.events_appsync.exceptions import UnauthorizedException
from aws_lambda_powertools.utilities.parser.models import AppSyncEventsModel
from aws_lambda_powertools.utilities.parser.models.appsync import (
    AppSyncCognitoIdentity,
    AppSyncIamIdentity,
    AppSyncLambdaIdentity,
    AppSyncOidcIdentity,
)
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import BaseModel
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync.auth import (
    SUBPROTOCOL,
    encode_header_subprotocol,
    publish_body,
    subscribe_body,
)
from loadgen.server.auth.base import AuthorizationRequest, Authorizer, Operation, caller_of
from loadgen.server.auth.iam import IamAuthorizer, IamUser
from loadgen.server.auth.lambda_authorizer import LambdaAuthorizer
from loadgen.server.auth.tokens import JwtAuthorizer
from loadgen.server.direct_lambda import LambdaContext, direct, lambda_event
from loadgen.server.handlers import context, run_on_publish
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace
from loadgen.server.refusal import RefusedError
from loadgen.server.synchronous import SynchronousCalls
from loadgen.server.testing import LocalEventApi
from tests.server.auth.signer import ACCESS_KEY, REGION, SECRET_KEY, authorization, now

ISSUER = "https://login.example/pool"
CALLER = caller_of({"x-forwarded-for": "203.0.113.7"}, "127.0.0.1")


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Callable[..., str]]:
    private = rsa.generate_private_key(65537, 2048)
    key = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": "k"}
    path = tmp_path_factory.mktemp("keys") / "jwks.json"
    path.write_text(json.dumps({"keys": [key]}))

    def token(**claims: Any) -> str:
        body = {"iss": ISSUER, "sub": "u-1", "exp": int(time.time()) + 600, **claims}
        return jwt.encode(body, private, "RS256", headers={"kid": "k"})

    return path, token


def identity_of(authorizer: Authorizer, credentials: Mapping[str, str]) -> Any:
    request = AuthorizationRequest(
        Operation.SUBSCRIBE, credentials, lambda: subscribe_body("/iam/a"), "/iam/a", caller=CALLER
    )
    return asyncio.run(authorizer.authorize(request))


def iam_identity(_: Any) -> Any:
    timestamp = now()
    signed = {"host": "h", "x-amz-date": timestamp}
    text = authorization(subscribe_body("/iam/a"), signed, timestamp)
    return identity_of(
        IamAuthorizer([IamUser(ACCESS_KEY, SECRET_KEY)], REGION), {**signed, "authorization": text}
    )


def token_identity(mode: Mode, **claims: Any) -> Callable[[Any], Any]:
    def of(tokens: tuple[Path, Callable[..., str]]) -> Any:
        path, token = tokens
        return identity_of(JwtAuthorizer(mode, ISSUER, path), {"authorization": token(**claims)})

    return of


def lambda_identity(**answer: Any) -> Callable[[Any], Any]:
    def of(_: Any) -> Any:
        return identity_of(
            LambdaAuthorizer(lambda event: {"isAuthorized": True, **answer}), {"authorization": "t"}
        )

    return of


IDENTITIES: dict[str, tuple[Callable[[Any], Any], type[BaseModel] | None]] = {
    "IAM": (iam_identity, AppSyncIamIdentity),
    "an ID token of a user pool": (
        token_identity(Mode.COGNITO, token_use="id", **{"cognito:username": "ada", "cognito:groups": ["g"]}),
        AppSyncCognitoIdentity,
    ),
    "an access token of a user pool": (
        token_identity(Mode.COGNITO, token_use="access", username="ada"),
        AppSyncCognitoIdentity,
    ),
    "a token with no name": (token_identity(Mode.COGNITO, token_use="access"), AppSyncCognitoIdentity),
    "OIDC": (token_identity(Mode.OIDC), AppSyncOidcIdentity),
    "a Lambda authorizer": (lambda_identity(handlerContext={"who": "ada"}), AppSyncLambdaIdentity),
    "a Lambda authorizer without context": (lambda_identity(), AppSyncLambdaIdentity),
    "an API key": (lambda _: None, None),
}


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("operation", ["PUBLISH", "SUBSCRIBE"])
def test_the_model_of_powertools_accepts_the_event(
    name: str, operation: Any, tokens: tuple[Path, Callable[..., str]]
) -> None:
    make, kind = IDENTITIES[name]
    identity = make(tokens)
    channel = "/default/a/b" if operation == "PUBLISH" else "/default/*"
    ctx = context(operation, channel, "default", identity, {"x-tenant": "blue", "authorization": "secret"})
    ctx.events = [{"id": "1", "payload": {"text": "é"}}] if operation == "PUBLISH" else []
    # Encode and decode the event: AWS sends it to a function as JSON.
    event = json.loads(json.dumps(lambda_event(ctx)))
    model = AppSyncEventsModel.model_validate(event)
    assert model.info.operation == operation
    assert model.info.channel.segments == channel[1:].split("/")
    assert model.request.headers == {"x-tenant": "blue"}
    if kind is None:
        assert model.identity is None
    else:
        # Validate with the model of this identity. The model's union of all identities might accept the value as
        # another, less strict one.
        accepted = kind.model_validate(event["identity"])
        assert set(kind.model_fields) <= event["identity"].keys()
        assert accepted.model_dump().items() <= event["identity"].items()


def test_the_members_of_the_event_are_those_that_powertools_types_name() -> None:
    """The expected members are those of the type AppSyncEventsPublishEvent in Powertools for TypeScript."""
    ctx = context("PUBLISH", "/default/foo", "default", None, {"header1": "value1"})
    ctx.events = [{"id": "12345", "payload": {"key": "value"}}]
    assert lambda_event(ctx) == {
        "identity": None,
        "result": None,
        "request": {"headers": {"header1": "value1"}, "domainName": None},
        "info": {
            "channel": {"path": "/default/foo", "segments": ["default", "foo"]},
            "channelNamespace": {"name": "default"},
            "operation": "PUBLISH",
        },
        "error": None,
        "prev": None,
        "stash": {},
        "outErrors": [],
        "events": [{"payload": {"key": "value"}, "id": "12345"}],
    }


def application() -> AppSyncEventsResolver:
    """Return an application like the one in the documentation of Powertools."""
    app = AppSyncEventsResolver()  # type: ignore[no-untyped-call]

    @app.on_publish("/one/each")
    def each(payload: dict[str, Any]) -> dict[str, Any]:
        if payload.get("bad"):
            raise ValueError("no bad words")
        return {**payload, "by": app.current_event.info.channel_path}

    @app.on_publish("/one/all", aggregate=True)
    def every(payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [event for event in payload if event["payload"]["n"] % 2]

    @app.async_on_publish("/one/later")
    async def later(payload: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0)
        if payload.get("bad"):
            raise ValueError("no bad words")
        return {**payload, "later": True}

    @app.async_on_publish("/one/later-all", aggregate=True)
    async def later_every(payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
        await asyncio.sleep(0)
        return payload[:1]

    @app.on_publish("/one/broken", aggregate=True)
    def broken(payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise ValueError("all of it")

    @app.on_publish("/one/forbidden", aggregate=True)
    def forbidden(payload: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raise UnauthorizedException("not for you")

    @app.on_subscribe("/one/*")
    def anything() -> None:
        assert app.current_event.info.operation == "SUBSCRIBE"

    @app.on_subscribe("/one/forbidden")
    def forbidden_here() -> None:
        raise UnauthorizedException("not for you")

    @app.on_subscribe("/one/broken")
    def broken_here() -> None:
        raise ValueError("out of order")

    return app


@pytest.fixture(scope="module")
def api() -> Iterator[LocalEventApi]:
    handler = direct(application())
    with LocalEventApi([Namespace("one", on_publish=handler, on_subscribe=handler)]) as started:
        yield started


def publish(api: LocalEventApi, channel: str, *payloads: Any) -> httpx.Response:
    body = {"channel": channel, "events": [json.dumps(payload) for payload in payloads]}
    return httpx.post(api.http_url, json=body, headers={"x-api-key": api.api_key}, timeout=60)


def delivered(api: LocalEventApi, channel: str) -> list[Any]:
    return [entry.payload for entry in api.published if entry.channel == channel]


def test_a_handler_of_each_event_fails_for_one(api: LocalEventApi) -> None:
    answer = publish(api, "/one/each", {"n": 1}, {"bad": True}, {"n": 3}).json()
    assert [event["index"] for event in answer["successful"]] == [0, 2]
    (failed,) = answer["failed"]
    assert (failed["index"], failed["message"]) == (1, "ValueError - no bad words")
    assert delivered(api, "/one/each") == [{"n": 1, "by": "/one/each"}, {"n": 3, "by": "/one/each"}]


def test_a_handler_of_all_events_filters(api: LocalEventApi) -> None:
    assert len(publish(api, "/one/all", *({"n": n} for n in range(5))).json()["successful"]) == 5
    assert delivered(api, "/one/all") == [{"n": 1}, {"n": 3}]


def test_asynchronous_handlers_run_their_own_event_loop(api: LocalEventApi) -> None:
    answer = publish(api, "/one/later", {"n": 1}, {"bad": True}).json()
    assert [event["index"] for event in answer["failed"]] == [1]
    assert delivered(api, "/one/later") == [{"n": 1, "later": True}]
    assert publish(api, "/one/later-all", {"n": 1}, {"n": 2}).status_code == 200
    assert delivered(api, "/one/later-all") == [{"n": 1}]


def test_an_error_refuses_the_publish_and_unauthorized_does_with_403(api: LocalEventApi) -> None:
    broken = publish(api, "/one/broken", {"n": 1})
    assert broken.json()["errors"] == [{"errorType": "HandlerError", "message": "ValueError - all of it"}]
    forbidden = publish(api, "/one/forbidden", {"n": 1})
    assert forbidden.status_code == 403
    assert forbidden.json()["errors"] == [{"errorType": "UnauthorizedException", "message": "not for you"}]
    assert delivered(api, "/one/*") == []


def test_events_without_a_handler_pass_as_they_are(api: LocalEventApi) -> None:
    with pytest.warns(UserWarning, match="No resolvers were found"):
        answer = publish(api, "/one/other", {"n": 9})
    assert answer.status_code == 200
    assert delivered(api, "/one/other") == [{"n": 9}]


@pytest.mark.parametrize(
    ("channel", "error"),
    [
        ("/one/a", None),
        ("/one/forbidden", {"errorType": "UnauthorizedException", "message": "not for you"}),
        ("/one/broken", {"errorType": "HandlerError", "message": "ValueError - out of order"}),
    ],
)
def test_subscriptions_are_allowed_and_refused(channel: str, error: Any, api: LocalEventApi) -> None:
    server = api._server
    assert server is not None

    async def ask() -> Any:
        try:
            return await server.api.subscribe({"x-api-key": api.api_key}, channel)
        except RefusedError as refused:
            return {"errorType": refused.error.error_type, "message": refused.error.message}

    assert api._run(ask()) == (channel if error is None else error)


def test_many_publishes_at_once_see_their_own_events(api: LocalEventApi) -> None:
    """Calls must not overlap, because Powertools' resolver keeps the current event in its class."""
    before = len(delivered(api, "/one/each"))

    async def all_at_once() -> list[Any]:
        async with httpx.AsyncClient(timeout=60) as client:
            posts = [
                client.post(
                    api.http_url,
                    json={"channel": "/one/each", "events": [json.dumps({"n": n})]},
                    headers={"x-api-key": api.api_key},
                )
                for n in range(60)
            ]
            return [answer.status_code for answer in await asyncio.gather(*posts)]

    assert set(asyncio.run(all_at_once())) == {200}
    assert sorted(event["n"] for event in delivered(api, "/one/each")[before:]) == list(range(60))


def answered(answer: Any, event: Any, ctx: Any) -> Any:
    return answer


@pytest.mark.parametrize("over_websocket", [True, False])
def test_a_function_gets_the_identity_and_the_addresses_of_the_caller(over_websocket: bool) -> None:
    events: list[dict[str, Any]] = []

    def keep(event: dict[str, Any], ctx: LambdaContext) -> Any:
        events.append(json.loads(json.dumps(event)))
        return {"events": event["events"]} if event["info"]["operation"] == "PUBLISH" else None

    handler = direct(keep)
    authorizers = [IamAuthorizer([IamUser(ACCESS_KEY, SECRET_KEY, username="ada")], REGION)]
    with LocalEventApi(
        [Namespace("one", on_publish=handler, on_subscribe=handler)], authorizers=authorizers
    ) as api:
        host = api.http_url.split("/")[2]
        body = publish_body("/one/a", ['{"n":1}'])

        def signed(of: bytes) -> dict[str, str]:
            timestamp = now()
            headers = {"host": host, "x-amz-date": timestamp}
            return {**headers, "Authorization": authorization(of, headers, timestamp)}

        forwarded = {"x-forwarded-for": "203.0.113.7, 198.51.100.1"}
        if over_websocket:
            subprotocols = [Subprotocol(SUBPROTOCOL), Subprotocol(encode_header_subprotocol(signed(b"{}")))]
            with connect(api.ws_url, subprotocols=subprotocols, additional_headers=forwarded) as socket:
                for kind, channel, of, more in (
                    ("subscribe", "/one/*", subscribe_body("/one/*"), {}),
                    ("publish", "/one/a", body, {"events": ['{"n":1}']}),
                ):
                    message = {
                        "type": kind,
                        "id": kind,
                        "channel": channel,
                        "authorization": signed(of),
                        **more,
                    }
                    socket.send(json.dumps(message))
                    assert json.loads(socket.recv(60))["type"] in ("subscribe_success", "data")
        else:
            sent = {**signed(body), **forwarded, "content-type": "application/json"}
            assert httpx.post(api.http_url, content=body, headers=sent, timeout=60).status_code == 200
    assert [event["info"]["operation"] for event in events] == (
        ["SUBSCRIBE", "PUBLISH"] if over_websocket else ["PUBLISH"]
    )
    for event in events:
        assert AppSyncEventsModel.model_validate(event).identity == AppSyncIamIdentity(
            accountId="000000000000",
            sourceIp=["203.0.113.7", "198.51.100.1", "127.0.0.1"],
            username="ada",
            userArn="arn:aws:iam::000000000000:user/ada",
        )
        assert "authorization" not in event["request"]["headers"]


def test_an_answer_of_another_form_is_a_failed_handler() -> None:
    for answer in ([{"id": "1"}], {"events": 7}, "x", {"events": [{"payload": 1}]}):
        ctx = context("PUBLISH", "/one/a", "one", None, {})
        handler = direct(partial(answered, answer))
        with pytest.raises(RefusedError) as caught:
            asyncio.run(run_on_publish(handler, ctx, {"1": "{}"}, SynchronousCalls()))
        assert caught.value.error.error_type == "MessageProcessingError"


def test_the_context_has_what_functions_read() -> None:
    one = LambdaContext("f")
    assert one.invoked_function_arn.endswith(":function:f")
    assert one.aws_request_id != LambdaContext("f").aws_request_id
    assert one.get_remaining_time_in_millis() > 0
