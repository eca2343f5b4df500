"""One WebSocket connection of the stand-in."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from loadgen.protocol.appsync import errors
from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.appsync_graphql.messages import UNREADABLE
from loadgen.server.auth.base import Operation, credentials_from
from loadgen.server.frames import text_frame
from loadgen.server.handshakes import NORMAL_CLOSURE, converse
from loadgen.server.refusal import RefusedError
from loadgen.stand_ins.appsync_graphql.hub import WRITE_BUFFER_LIMIT_BYTES, Hub, Outlet, Subscription
from loadgen.stand_ins.appsync_graphql.schema import OperationError
from loadgen.stand_ins.appsync_graphql.settings import GraphqlSettings

GOING_AWAY: Final = 1001
_KEEPALIVE: Final = b'{"type":"ka"}'
#: Text of the error for a message of an unknown type (secondary source).
_UNSUPPORTED: Final = {
    "errorType": "UnsupportedOperation",
    "message": "unknown not supported through the realtime channel",
}
_RATE: Final = {"errorType": "LimitExceededError", "message": "Rate limit exceeded"}
_encode = msgspec.json.Encoder().encode


class ClientMessage(msgspec.Struct, frozen=True):
    """Any message of a client; unknown members are ignored."""

    type: str
    id: str | None = None
    payload: Any = None


class StartData(msgspec.Struct, frozen=True):
    """The JSON in the text `payload.data` of a `start`."""

    query: str
    variables: Any = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")


_decode = msgspec.json.Decoder(ClientMessage).decode
_decode_start = msgspec.json.Decoder(StartData).decode


class Api(Protocol):
    """The attributes and methods of the GraphQL API that a connection uses."""

    settings: GraphqlSettings
    hub: Hub

    def may_start(self) -> bool:
        """Count a client's attempt to subscribe; return False if it exceeds the API's rate."""

    async def authorize(
        self, operation: Operation, credentials: Mapping[str, str], signed_body: Callable[[], bytes]
    ) -> None:
        """Check that the credentials allow an operation; raises RefusedError if they do not."""


class Connection:
    """The server's side of an accepted WebSocket; text frames go straight to the transport."""

    def __init__(
        self, api: Api, socket: web.WebSocketResponse, transport: asyncio.Transport, number: int
    ) -> None:
        self._api = api
        self._socket = socket
        self._transport = transport
        self._number = number
        self._outlet = Outlet(transport.write, transport.get_write_buffer_size, transport.abort)
        self._subscriptions: dict[str, Subscription] = {}
        self._keepalive: asyncio.TimerHandle | None = None
        self._open = True

    async def run(self) -> None:
        """Answer the client's messages until either side closes."""
        await converse(self._socket, self._receive, lambda: self.error("error", [_UNSUPPORTED]), self._leave)

    async def close(self, code: int = NORMAL_CLOSURE) -> None:
        """End the subscriptions and close the WebSocket."""
        self._leave()
        await self._socket.close(code=code)

    def send(self, payload: bytes) -> None:
        """Send one text message; do nothing once the connection is closing."""
        if not self._open:
            return
        try:
            self._transport.write(text_frame(payload))
        except RuntimeError:
            return
        if self._outlet.buffered_bytes() > WRITE_BUFFER_LIMIT_BYTES:
            self._outlet.abort()

    def error(self, kind: str, errors: Any, operation_id: str | None = None) -> None:
        """Send an error message, with the id of its operation if there is one; ``errors`` is a list or one object."""
        written = {} if operation_id is None else {"id": operation_id}
        self.send(_encode({**written, "type": kind, "payload": {"errors": errors}}))

    def _leave(self) -> None:
        self._open = False
        if self._keepalive is not None:
            self._keepalive.cancel()
        for subscription in self._subscriptions.values():
            self._api.hub.remove(subscription)
        self._subscriptions.clear()

    async def _receive(self, text: str) -> None:
        try:
            message = _decode(text)
        except UNREADABLE:
            self.error("error", [_UNSUPPORTED])
            return
        match message.type:
            case "connection_init":
                timeout_ms = self._api.settings.connection_timeout_ms
                self.send(_encode({"type": "connection_ack", "payload": {"connectionTimeoutMs": timeout_ms}}))
                if self._keepalive is None:
                    self._keep_alive()
            case "start" if message.id is not None:
                await self._on_start(message.id, message.payload)
            case "stop" if message.id is not None:
                self._on_stop(message.id)
            case _:
                self.error("error", [_UNSUPPORTED])

    def _keep_alive(self) -> None:
        """Send a keep-alive message (`ka`) now and after each interval."""
        self.send(_KEEPALIVE)
        interval_s = self._api.settings.keepalive_interval_s
        self._keepalive = asyncio.get_running_loop().call_later(interval_s, self._keep_alive)

    async def _on_start(self, operation_id: str, payload: Any) -> None:
        settings = self._api.settings
        if not self._api.may_start():
            # Send the error without an id, as AWS does: the client cannot find out which `start` failed (source: an iOS
            # client).
            self.error("error", _RATE)
            return
        try:
            subscription = await self._subscription(operation_id, payload)
        except RefusedError as refused:
            self.error("error", [refused.error], operation_id)
            return
        except OperationError as refused:
            self.error("error", refused.errors, operation_id)
            return
        if len(self._subscriptions) >= settings.subscriptions_per_connection:
            most = settings.subscriptions_per_connection
            # For this error, AWS sends one object instead of a list of objects (source: an iOS client).
            self.error(
                "error",
                {
                    "errorType": "MaxSubscriptionsReachedError",
                    "message": f"Max number of {most} subscriptions reached",
                },
                operation_id,
            )
            return
        if not self._open:
            return  # the connection was closed while the authorizer ran
        self.send(_encode({"id": operation_id, "type": "start_ack"}))
        self._subscriptions[operation_id] = subscription
        self._api.hub.add(subscription)

    async def _subscription(self, operation_id: str, payload: Any) -> Subscription:
        """Return the subscription that a `start` asks for.

        Raises:
            RefusedError: the message is malformed, or not authorized.
            OperationError: the document is invalid.
        """
        fields: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
        data, extensions = fields.get("data"), fields.get("extensions")
        authorization = extensions.get("authorization") if isinstance(extensions, dict) else None
        if not isinstance(data, str):
            raise RefusedError(WireError("BadRequestException", "payload.data must be a text of JSON"))
        credentials = credentials_from(authorization if isinstance(authorization, dict) else None)
        await self._api.authorize(Operation.SUBSCRIBE, credentials, lambda: data.encode())
        try:
            asked = _decode_start(data)
        except UNREADABLE:
            raise RefusedError(
                WireError("BadRequestException", "payload.data is not JSON with a query")
            ) from None
        compiled = self._api.settings.schema.compile(asked.query, asked.operation_name)
        if compiled.kind != "subscription":
            raise RefusedError(WireError("BadRequestException", f"{compiled.kind} is not a subscription"))
        arguments = compiled.calls[0].values(compiled.coerced(asked.variables))
        if operation_id in self._subscriptions:
            raise RefusedError(errors.duplicated_operation(operation_id))
        return Subscription(operation_id, compiled, arguments, self._number, self._outlet)

    def _on_stop(self, operation_id: str) -> None:
        subscription = self._subscriptions.pop(operation_id, None)
        if subscription is None:
            self.error("error", [errors.unknown_operation(operation_id)], operation_id)
            return
        self._api.hub.remove(subscription)
        self.send(_encode({"id": operation_id, "type": "complete"}))
