"""`/STAGE/@connections/ID`: the requests by which a backend sends to a connection, queries it and ends it."""

import asyncio
import hmac
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from loadgen.protocol.api_gateway.limits import MESSAGE_MAX_BYTES
from loadgen.stand_ins.api_gateway.authorization import Keys, RefusedError, demand_signature
from loadgen.stand_ins.api_gateway.connection import GOING_AWAY
from loadgen.stand_ins.api_gateway.gateway import Gateway
from loadgen.stand_ins.api_gateway.sockets import as_request

_BEARER: Final = "Bearer "
#: The service's error type for each status of an answer.
_TYPES: Final = {
    403: "ForbiddenException",
    410: "GoneException",
    413: "PayloadTooLargeException",
    429: "LimitExceededException",
}


class ManagementEndpoint:
    """Answers requests to `@connections` that are signed with SigV4 or contain one of the local tokens."""

    def __init__(self, gateway: Gateway, tokens: tuple[str, ...], keys: Keys | None) -> None:
        self._gateway, self._tokens, self._keys = gateway, tokens, keys

    async def post(self, request: web.Request) -> web.Response:
        """Send the body to a connection and answer with the status: 200, 403, 410, 413 or 429."""
        if (request.content_length or 0) > MESSAGE_MAX_BYTES:
            answer = _answer(413)
            answer.force_close()
            return answer
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _answer(413)
        if not self._may(request, body):
            return _answer(403)
        if len(body) > MESSAGE_MAX_BYTES:
            return _answer(413)
        if delay_ms := self._gateway.options.post_delay_ms:
            await asyncio.sleep(delay_ms / 1e3)
        return _answer(self._gateway.post(request.match_info["id"], body))

    async def get(self, request: web.Request) -> web.Response:
        """Return when a connection began and was last active, and its client's address and user agent."""
        if not self._may(request):
            return _answer(403)
        connection = self._gateway.connections.get(request.match_info["id"])
        if connection is None or not connection.is_open:
            return _answer(410)
        return web.json_response(
            {
                "connectedAt": _time(connection.connected_s),
                "identity": {"sourceIp": connection.source_ip, "userAgent": connection.user_agent},
                "lastActiveAt": _time(connection.active_s),
            }
        )

    async def delete(self, request: web.Request) -> web.Response:
        """Close a connection."""
        if not self._may(request):
            return _answer(403)
        connection = self._gateway.connections.get(request.match_info["id"])
        if connection is None or not connection.is_open:
            return _answer(410)
        connection.close(GOING_AWAY)
        return web.Response(status=204)

    def _may(self, request: web.Request, body: bytes = b"") -> bool:
        given = request.headers.get("Authorization", "")
        if given.startswith(_BEARER) and given.isascii():
            token = given[len(_BEARER) :]
            return any(hmac.compare_digest(token, each) for each in self._tokens)
        try:
            demand_signature(as_request(request, body), self._keys)
        except RefusedError:
            return False
        return True


def _answer(status: int) -> web.Response:
    if status == 200:
        return web.Response()
    name = _TYPES[status]
    return web.json_response({"message": name}, status=status, headers={"x-amzn-ErrorType": name})


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
