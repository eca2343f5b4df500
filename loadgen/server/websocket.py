"""The endpoint `GET /event/realtime`: the WebSocket upgrade, its authorization, and the open connections."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

from aiohttp import hdrs, web

from loadgen.protocol.appsync import errors, messages
from loadgen.protocol.appsync.auth import (
    HEADER_SUBPROTOCOL_PREFIX,
    SUBPROTOCOL,
    decode_header_subprotocol,
)
from loadgen.server.api import EventApi
from loadgen.server.auth.base import caller_of, credentials_from
from loadgen.server.connection import GOING_AWAY, Connection
from loadgen.server.handshakes import accept
from loadgen.server.quotas import TokenBucket
from loadgen.server.refusal import RefusedError

#: The error for each HTTP status with which the fault settings refuse an upgrade (assumption).
_ERROR_OF_STATUS: Final = {
    401: errors.UNAUTHORIZED,
    403: errors.UNAUTHORIZED,
    429: errors.LIMIT_EXCEEDED,
    503: errors.LIMIT_EXCEEDED,
}
_FIRST_FRAME_TIMEOUT_S: Final = 1.0
_SHUTDOWN_TIMEOUT_S: Final = 1.0


class RealtimeEndpoint:
    """Accepts WebSockets and keeps track of the open ones."""

    def __init__(self, api: EventApi) -> None:
        self._api = api
        self._connections: set[Connection] = set()
        faults = api.config.faults
        self._upgrades = None if faults is None else faults.upgrades
        rate = None if self._upgrades is None else self._upgrades.rate_per_s
        self._admitted = None if rate is None else TokenBucket(rate)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Upgrade the request to a WebSocket, authorize it, and serve the connection until it closes.

        A client that is refused gets 101, `connection_error`, then close 1000 (seen on AWS). The error is sent after
        the client's first frame, or after a second (assumption): an error sent earlier may arrive before the client
        listens.
        """
        if (refusal := self._refused_upgrade()) is not None:
            return refusal
        socket = await accept(request, (SUBPROTOCOL,))
        transport = request.transport
        if transport is None:
            return socket
        caller = caller_of(request.headers, request.remote)
        connection = Connection(self._api, socket, transport, credentials_from(request.headers), caller)
        self._connections.add(connection)
        try:
            await self._api.connect(_handshake_credentials(request), caller)
            self._api.counters.connections += 1
            await connection.run()
        except RefusedError as refused:
            self._api.counters.connections_refused += 1
            await _first_frame(socket)
            connection.send_error("connection_error", refused.error)
            await connection.close()
        finally:
            self._connections.discard(connection)
        return socket

    def _refused_upgrade(self) -> web.Response | None:
        """Return the response to an upgrade that the fault settings refuse, or None to accept it."""
        settings = self._upgrades
        if settings is None or (self._admitted is not None and self._admitted.try_take()):
            return None
        self._api.counters.connections_refused += 1
        error = _ERROR_OF_STATUS.get(settings.status)
        headers = {} if error is None else {"x-amzn-errortype": error.error_type or ""}
        if settings.retry_after_ns is not None:
            headers["retry-after"] = str(-(-settings.retry_after_ns // 1_000_000_000))
        body = messages.encode_http(messages.ErrorResponse([] if error is None else [error]))
        return web.Response(
            status=settings.status, headers=headers, body=body, content_type="application/json"
        )

    async def close_all(self) -> None:
        """Close every connection with 1001 (going away), and wait up to a second for the clients' answers."""
        closing = [asyncio.ensure_future(connection.close(GOING_AWAY)) for connection in self._connections]
        if closing:
            await asyncio.wait(closing, timeout=_SHUTDOWN_TIMEOUT_S)


async def _first_frame(socket: web.WebSocketResponse) -> None:
    """Wait until the client sends any frame or closes, for at most a second."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_FIRST_FRAME_TIMEOUT_S):
            await socket.receive()


def _handshake_credentials(request: web.Request) -> Mapping[str, str]:
    """Return the credentials in the `header-` subprotocol or, if there is none, those in the request's headers.

    Raises:
        RefusedError: the client does not offer `aws-appsync-event-ws`, or its `header-` subprotocol is unreadable or
            lacks `host`. The rules are documented (AWS docs), the errors are assumptions.
    """
    offered = [
        name.strip()
        for line in request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
        for name in line.split(",")
    ]
    if SUBPROTOCOL not in offered:
        raise RefusedError(errors.CONNECT_NO_PROTOCOL)
    encoded = next((name for name in offered if name.startswith(HEADER_SUBPROTOCOL_PREFIX)), None)
    if encoded is None:
        return credentials_from(request.headers)
    try:
        credentials = credentials_from(decode_header_subprotocol(encoded))
    except ValueError:
        raise RefusedError(errors.CONNECT_BAD_HEADER) from None
    if not credentials.get("host"):
        raise RefusedError(errors.CONNECT_BAD_HEADER)
    return credentials
