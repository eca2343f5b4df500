"""Test for how long a Lambda authorizer's answer is cached, and for which requests."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from loadgen.server.auth.base import AuthorizationRequest, Operation
from loadgen.server.auth.lambda_authorizer import LambdaAuthorizer
from loadgen.server.namespaces import Namespace
from loadgen.server.refusal import RefusedError


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Function:
    def __init__(self, **answer: Any) -> None:
        self.answer: Mapping[str, Any] = {"isAuthorized": True, **answer}
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> Mapping[str, Any]:
        self.events.append(event)
        return self.answer


def request(channel: str | None = "/a/b", operation: Operation = Operation.SUBSCRIBE) -> AuthorizationRequest:
    credentials = {"authorization": "t", "x-api-key": "da2-x", "x-app": "1"}
    return AuthorizationRequest(operation, credentials, lambda: b"{}", channel, Namespace("a"))


def ask(authorizer: LambdaAuthorizer, *args: Any) -> Any:
    return asyncio.run(authorizer.authorize(request(*args)))


def test_without_a_ttl_every_request_is_asked() -> None:
    function = Function()
    authorizer = LambdaAuthorizer(function)
    ask(authorizer)
    ask(authorizer)
    assert len(function.events) == 2


@pytest.mark.parametrize(
    ("ttl_s", "override", "kept_s"), [(10, None, 10), (10, 3, 3), (0, 60, 60), (10, 9999, 3600)]
)
def test_an_answer_is_kept_for_the_ttl(ttl_s: float, override: float | None, kept_s: float) -> None:
    function, clock = Function(ttlOverride=override), Clock()
    authorizer = LambdaAuthorizer(function, ttl_s, clock)
    ask(authorizer)
    clock.now_s = kept_s - 0.001
    ask(authorizer)
    assert len(function.events) == 1
    clock.now_s = kept_s
    ask(authorizer)
    assert len(function.events) == 2


def test_an_override_of_zero_keeps_nothing() -> None:
    function = Function(ttlOverride=0)
    authorizer = LambdaAuthorizer(function, 300)
    ask(authorizer)
    ask(authorizer)
    assert len(function.events) == 2


def test_answers_are_kept_by_operation_and_channel_and_a_no_is_kept_too() -> None:
    function = Function(isAuthorized=False)
    authorizer = LambdaAuthorizer(function, 300)
    for _ in range(2):
        for what in (("/a/b",), ("/a/c",), ("/a/b", Operation.PUBLISH), (None, Operation.CONNECT)):
            with pytest.raises(RefusedError):
                ask(authorizer, *what)
    assert len(function.events) == 4


@pytest.mark.parametrize("answer", [{}, {"isAuthorized": "false"}, {"isAuthorized": 1}, None, "yes"])
def test_only_true_allows(answer: Any) -> None:
    with pytest.raises(RefusedError):
        ask(LambdaAuthorizer(lambda _: answer))


def test_the_function_gets_what_aws_sends_and_may_be_a_coroutine() -> None:
    events = []

    async def function(event: dict[str, Any]) -> Mapping[str, Any]:
        events.append(event)
        return {"isAuthorized": True, "handlerContext": {"a": "b"}}

    assert ask(LambdaAuthorizer(function)) == {"handlerContext": {"a": "b"}, "resolverContext": {"a": "b"}}
    (event,) = events
    assert event["authorizationToken"] == "t"
    assert event["requestContext"]["operation"] == "EVENT_SUBSCRIBE"
    assert event["requestContext"]["channel"] == "/a/b"
    assert event["requestContext"]["channelNamespaceName"] == "a"
    assert event["requestHeaders"] == {"x-app": "1"}
