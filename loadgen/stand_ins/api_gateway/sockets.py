"""`GET /STAGE`: the WebSocket upgrade, after `$connect` has been authorized and answered."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from aiohttp import hdrs, web

from loadgen.stand_ins.api_gateway.authorization import (
    Keys,
    RefusedError,
    Request,
    demand_signature,
    token_subject,
)
from loadgen.stand_ins.api_gateway.connection import Connection, new_id
from loadgen.stand_ins.api_gateway.gateway import Gateway
from loadgen.stand_ins.api_gateway.invoking import BackendGoneError

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MESSAGES: Final = {
    401: "Unauthorized",
    403: "Forbidden",
    429: "Too Many Requests",
    500: "Internal server error",
}


def refusal(status: int, message: str | None = None) -> web.Response:
    """Return a response in the form in which the gateway refuses a request."""
    return web.json_response({"message": message or _MESSAGES[status]}, status=status)


class SocketEndpoint:
    """Accepts WebSockets."""

    def __init__(self, gateway: Gateway, api_key: str, users: Mapping[str, str], keys: Keys | None) -> None:
        self._gateway, self._api_key, self._users, self._keys = gateway, api_key, users, keys

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade the request, and serve the connection until it ends."""
        gateway = self._gateway
        key = _key(request)
        if key is None:
            # The service answers an ordinary GET of a stage with 403 or 426 (assumption).
            return refusal(403)
        if not gateway.throttle.take():
            return refusal(429)
        try:
            subject = self._authorize(request)
        except RefusedError as refused:
            gateway.counts[f"refused: {refused.status}"] += 1
            return refusal(refused.status)
        connection_id = new_id()
        try:
            # As in API Gateway, the handshake is answered only after the backend has answered `$connect`.
            answer = await gateway.backend.invoke("$connect", connection_id, subject=subject)
        except BackendGoneError:
            return refusal(500)
        if answer.failed:
            return refusal(500)
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        response = web.StreamResponse(
            status=101,
            headers={
                hdrs.UPGRADE: "websocket",
                hdrs.CONNECTION: "upgrade",
                hdrs.SEC_WEBSOCKET_ACCEPT: accept,
            },
        )
        await response.prepare(request)
        if request.transport is None:
            return response
        connection = self._connection(request, request.transport, subject, connection_id)
        gateway.add(connection)
        protocol: Any = request.protocol
        protocol.set_parser(connection)
        protocol.keep_alive(False)
        try:
            await connection.ended
        finally:
            await gateway.remove(connection)
        return response

    def _connection(
        self, request: web.Request, transport: Any, subject: str | None, connection_id: str
    ) -> Connection:
        options = self._gateway.options
        return Connection(
            transport,
            self._gateway.on_message,
            idle_s=options.idle_s,
            lifetime_s=options.lifetime_s,
            pings_count=options.pings_count,
            subject=subject,
            source_ip=request.remote or "",
            user_agent=request.headers.get(hdrs.USER_AGENT, ""),
            connection_id=connection_id,
        )

    def _authorize(self, request: web.Request) -> str | None:
        """Check the credentials of a `$connect` request; return its user, or None if its credentials name none.

        Raises:
            RefusedError: the credentials are not accepted.
        """
        of = as_request(request)
        if self._gateway.options.authorizer == "custom":
            return token_subject(of, self._api_key, self._users)
        if self._gateway.options.authorizer == "iam":
            demand_signature(of, self._keys)
        return None


def as_request(request: web.Request, body: bytes = b"") -> Request:
    """Convert an aiohttp request to a `Request`, from which the authorization is checked."""
    headers = {
        name.lower(): value
        for name, value in request.headers.items()
        if value.isascii()  # credentials are ASCII
    }
    return Request(request.method, request.raw_path, headers, body)


def _key(request: web.Request) -> bytes | None:
    """Return the key of a WebSocket handshake (RFC 6455, 4.2.1), or None if the request is no handshake."""
    headers = request.headers
    written = headers.get(hdrs.SEC_WEBSOCKET_KEY, "")
    try:
        valid = written.isascii() and len(base64.b64decode(written, validate=True)) == 16
    except binascii.Error:
        valid = False
    upgrades = headers.get(hdrs.UPGRADE, "").lower() == "websocket"
    if not valid or not upgrades or headers.get(hdrs.SEC_WEBSOCKET_VERSION) != "13":
        return None
    return written.encode()
