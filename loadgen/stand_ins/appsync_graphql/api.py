"""One GraphQL API: authorization, open connections, and mutations at the endpoint `/graphql`."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web

from loadgen.protocol.appsync import errors
from loadgen.protocol.appsync.auth import (
    CONNECT_BODY,
    HEADER_SUBPROTOCOL_PREFIX,
    decode_header_subprotocol,
)
from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.appsync_graphql.endpoints import PATH
from loadgen.protocol.appsync_graphql.messages import SUBPROTOCOL, UNREADABLE
from loadgen.protocol.unreadable import is_utf8
from loadgen.server.auth.base import AuthorizationRequest, Operation, credentials_from
from loadgen.server.bodies import Bodies, BodyError, BodyTooLargeError
from loadgen.server.cors import ANY_ORIGIN
from loadgen.server.handshakes import accept
from loadgen.server.quotas import TokenBucket
from loadgen.server.refusal import RefusedError
from loadgen.stand_ins.appsync_graphql.completion import complete
from loadgen.stand_ins.appsync_graphql.connection import GOING_AWAY, Connection, StartData
from loadgen.stand_ins.appsync_graphql.hub import Hub
from loadgen.stand_ins.appsync_graphql.schema import OperationError
from loadgen.stand_ins.appsync_graphql.settings import GraphqlSettings
from loadgen.stand_ins.journal import Journal

_FIRST_FRAME_TIMEOUT_S: Final = 1.0
_SHUTDOWN_TIMEOUT_S: Final = 1.0
_JSON: Final = "application/json"
#: Errors of the handshake. In reports by users of AWS, the error's name is sometimes in `message` and sometimes in
#: `errorType`.
NO_PROTOCOL: Final = WireError(None, "NoProtocolError", 400)
OTHER_PROTOCOL: Final = WireError(None, "SubProtocolNotSupportedError", 400)
NO_HEADERS: Final = WireError("BadRequest", "Required headers are missing.", 400)
_MALFORMED: Final = WireError("MalformedHttpRequestException", "The request is not JSON with a query")
_encode = msgspec.json.Encoder().encode
_decode_mutation = msgspec.json.Decoder(StartData).decode


class GraphqlApi:
    """The API; its methods `upgrade` and `post` answer requests."""

    def __init__(self, settings: GraphqlSettings, journal: Journal) -> None:
        self.settings = settings
        self.hub = Hub(settings, journal)
        self._bodies = Bodies()
        self._connections: set[Connection] = set()
        self._numbers = count()
        self._starts = TokenBucket(settings.starts_per_s) if settings.starts_per_s else None

    def may_start(self) -> bool:
        """Count a client's attempt to subscribe; return False if it exceeds the API's rate."""
        return self._starts is None or self._starts.try_take()

    async def authorize(
        self,
        operation: Operation,
        credentials: Mapping[str, str],
        signed_body: Callable[[], bytes],
        path: str = PATH,
    ) -> None:
        """Allow an operation; ``path`` is the path that a signature covers.

        Raises:
            RefusedError: bad credentials.
        """
        await self.settings.access.authorize(
            AuthorizationRequest(operation, credentials, signed_body, path=path)
        )

    # --- connections ---

    async def upgrade(self, request: web.Request) -> web.StreamResponse:
        """Upgrade the request to a WebSocket, authorize it, and serve the connection until it closes.

        A client that is refused gets 101, `connection_error` and close 1000, as on AppSync Events. The error is sent
        after the client's first frame, or after a second (assumption).
        """
        if request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
            return _refused([_MALFORMED], HTTPStatus.BAD_REQUEST)
        socket = await accept(request, (SUBPROTOCOL,))
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(self, socket, transport, next(self._numbers))
        self._connections.add(connection)
        try:
            credentials = _handshake_credentials(request)
            await self.authorize(Operation.CONNECT, credentials, lambda: CONNECT_BODY, path=f"{PATH}/connect")
            await connection.run()
        except RefusedError as refused:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_FRAME_TIMEOUT_S):
                    await socket.receive()
            connection.error("connection_error", [refused.error])
            await connection.close()
        finally:
            self._connections.discard(connection)
        return socket

    async def close_all(self) -> None:
        """Close every connection with 1001 (going away), and wait up to a second for the clients' answers."""
        closing = [asyncio.ensure_future(connection.close(GOING_AWAY)) for connection in self._connections]
        if closing:
            await asyncio.wait(closing, timeout=_SHUTDOWN_TIMEOUT_S)

    # --- requests ---

    async def post(self, request: web.Request) -> web.StreamResponse:
        """Execute a mutation; a refused one is answered with status 200 and `errors`, as is usual in GraphQL."""
        try:
            body = await self._bodies.read(request)
        except BodyTooLargeError:
            return _refused([_MALFORMED], HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        except BodyError:
            response = _refused([_MALFORMED], HTTPStatus.BAD_REQUEST)
            response.force_close()
            return response
        try:
            await self.authorize(Operation.PUBLISH, credentials_from(request.headers), lambda: body)
            asked = _decode_mutation(body)
            if not is_utf8(body):
                raise UnicodeDecodeError("utf-8", body, 0, 1, "an unknown member is not UTF-8")
            answer = self._execute(asked)
        except RefusedError as refused:
            return _refused([refused.error], refused.status)
        except UNREADABLE:
            return _refused([_MALFORMED], HTTPStatus.BAD_REQUEST)
        except OperationError as refused:
            answer = {"data": None, "errors": refused.errors}
        return web.Response(body=_encode(answer), content_type=_JSON, headers=ANY_ORIGIN)

    def _execute(self, asked: StartData) -> dict[str, Any]:
        """Execute an operation and return the answer; a mutation is first delivered to its subscribers."""
        compiled = self.settings.schema.compile(asked.query, asked.operation_name)
        if compiled.kind == "subscription":
            raise OperationError("Subscriptions go over the realtime endpoint")
        variables = compiled.coerced(asked.variables)
        failures: list[dict[str, Any]] = []
        data: dict[str, Any] = {}
        for call in compiled.calls:
            result = call.values(variables) if compiled.kind == "mutation" else None
            if result is not None and self.settings.rewrites_json:
                result = {name: _rewritten(value) for name, value in result.items()}
            selected, path = call.selected, f"/{call.selected.key}"
            completed = complete(selected, result, compiled.kind.title(), path, failures)
            data[selected.key] = completed
            # Subscribers get a result only if the publisher gets one too (assumption).
            if result is not None and completed is not None:
                self.hub.publish(call, result)
        return {"data": data, "errors": failures} if failures else {"data": data}


def _handshake_credentials(request: web.Request) -> Mapping[str, str]:
    """Return the credentials in the `header-` subprotocol or the query.

    Raises:
        RefusedError: the client does not offer `graphql-ws`, or its credentials are missing or unreadable.
    """
    offered = [
        name.strip()
        for line in request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])
        for name in line.split(",")
        if name.strip()
    ]
    encoded = next((name for name in offered if name.startswith(HEADER_SUBPROTOCOL_PREFIX)), None)
    if SUBPROTOCOL not in offered:
        raise RefusedError(NO_PROTOCOL if set(offered) <= {encoded} else OTHER_PROTOCOL)
    try:
        if encoded is not None:
            found = decode_header_subprotocol(encoded)
        else:
            written = request.query.get("header")
            if written is None or request.query.get("payload") is None:
                raise RefusedError(NO_HEADERS)
            # Turn spaces back into `+`: clients that do not percent-encode the query send `+`, which a query decodes to
            # a space.
            raw = base64.b64decode(written.replace(" ", "+"), validate=True)
            found = msgspec.json.decode(raw, type=dict[str, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise RefusedError(errors.CONNECT_BAD_HEADER) from None
    credentials = credentials_from(found)
    if not credentials.get("host"):
        raise RefusedError(NO_HEADERS)
    return credentials


def _rewritten(value: Any) -> Any:
    """If ``value`` is the text of a JSON object, parse and encode it again, as a resolver on AWS does.

    Return any other value unchanged.
    """
    if not isinstance(value, str) or not value.lstrip().startswith("{"):
        return value
    try:
        return _encode(msgspec.json.decode(value)).decode()
    except (*UNREADABLE, ValueError):
        return value


def _refused(errors_: list[WireError], status: int) -> web.Response:
    kind = errors_[0].error_type or "UnknownError"
    return web.Response(
        status=status,
        body=_encode({"errors": errors_}),
        content_type=_JSON,
        headers={**ANY_ORIGIN, "x-amzn-ErrorType": kind},
    )
