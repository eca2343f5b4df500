"""Authorization by a Lambda authorizer, in the form of a Python callable.

The callable receives the event that AWS would send (AWS docs; see docs/reference/appsync-events.md, section 4). It
returns `{"isAuthorized": bool, "handlerContext": {...}, "ttlOverride": seconds}`.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

from loadgen.protocol.appsync import errors
from loadgen.server.auth.base import AuthorizationRequest, Identity
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError
from loadgen.server.synchronous import SynchronousCalls, call

TTL_MAX_S: Final = 3600
"""Longest time for which an answer may be cached, in seconds (AWS docs)."""

TIMEOUT_S: Final = 10.0
"""Timeout of the function (assumption: that of AppSync's GraphQL APIs)."""

LambdaFunction = Callable[[dict[str, Any]], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]

_CACHED_MAX = 10_000
_SECRET_HEADERS = ("authorization", "x-api-key")
_Key = tuple[str, str, str | None]
_log = logging.getLogger(__name__)


class LambdaAuthorizer:
    """Calls a Lambda authorizer and caches its answer for `ttl_s` seconds, or for the answer's own `ttlOverride`.

    The cache key is token, operation and channel. AWS may use the token alone (unknown), so do not rely on an answer
    being reused for another operation or channel.
    """

    mode = Mode.LAMBDA

    def __init__(
        self, function: LambdaFunction, ttl_s: float = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._function = function
        self._calls = SynchronousCalls()
        self._ttl_s = min(ttl_s, TTL_MAX_S)
        self._clock = clock
        self._cache: OrderedDict[_Key, tuple[float, bool, Identity]] = OrderedDict()

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return True if the credentials have any `Authorization`.

        IAM signatures and tokens are in that header too, so `access` tries their authorizers first.
        """
        return "authorization" in credentials

    async def authorize(self, request: AuthorizationRequest) -> Identity:
        """Return the identity from the cache or the function.

        Raises:
            RefusedError: the function does not authorize the request, or fails.
        """
        key = (request.credentials["authorization"], request.operation.value, request.channel)
        kept = self._cache.get(key)
        if kept is None or kept[0] <= self._clock():
            kept = await self._ask(request)
            self._keep(key, kept)
        _, allowed, identity = kept
        if not allowed:
            raise RefusedError(errors.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)
        return identity

    async def _ask(self, request: AuthorizationRequest) -> tuple[float, bool, Identity]:
        try:
            answer = await call(self._calls, self._function, _event(request), timeout_s=TIMEOUT_S)
            allowed = answer["isAuthorized"]
            ttl_s = answer.get("ttlOverride")
            ttl_s = self._ttl_s if ttl_s is None else min(max(float(ttl_s), 0.0), TTL_MAX_S)
            # Compare with `is True`, since the text "false" is truthy. Event APIs name the context `handlerContext`
            # (AWS docs); GraphQL APIs and Powertools' model of the Lambda event name it `resolverContext`. The identity
            # has both, as an empty object if the function returns none (assumption).
            context = answer.get("handlerContext") or {}
            identity = {"handlerContext": context, "resolverContext": context}
            return self._clock() + ttl_s, allowed is True, identity
        except Exception:
            # The developer sees the traceback on the server's terminal; the client gets no details.
            _log.exception("the Lambda authorizer failed")
            raise RefusedError(errors.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED) from None

    def _keep(self, key: _Key, answer: tuple[float, bool, Identity]) -> None:
        if answer[0] > self._clock():
            self._cache[key] = answer
            self._cache.move_to_end(key)
            if len(self._cache) > _CACHED_MAX:
                self._cache.popitem(last=False)


def _event(request: AuthorizationRequest) -> dict[str, Any]:
    headers = {name: value for name, value in request.credentials.items() if name not in _SECRET_HEADERS}
    return {
        "authorizationToken": request.credentials["authorization"],
        "requestContext": {
            "apiId": "local",
            "accountId": "000000000000",
            "requestId": str(uuid4()),
            "operation": request.operation.value,
            "channelNamespaceName": request.namespace.name if request.namespace else None,
            "channel": request.channel,
        },
        "requestHeaders": headers,
    }
