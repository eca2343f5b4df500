"""One WebSocket connection of the server, with its messages, timers and subscriptions."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from loadgen.protocol.appsync import errors, messages
from loadgen.protocol.appsync.messages import ClientMessage
from loadgen.server import quiet
from loadgen.server.api import EventApi
from loadgen.server.auth.base import UNKNOWN_CALLER, Caller, credentials_from
from loadgen.server.frames import text_frame
from loadgen.server.handshakes import NORMAL_CLOSURE, converse
from loadgen.server.hub import Subscription
from loadgen.server.refusal import RefusedError

GOING_AWAY: Final = 1001
ABNORMAL_CLOSURE: Final = 1006

_log = logging.getLogger(__name__)
# Limit the warning about slow readers to one a minute: a client can cause it at any rate.
_log.addFilter(quiet.EveryMinute())


class Connection:
    """The server's side of an accepted WebSocket.

    Text frames bypass aiohttp's writer, which sends only pongs and close frames. Both ways write a whole frame in one
    synchronous step, because aiohttp does not compress here. So frames are never mixed, and they keep the order of the
    calls.
    """

    def __init__(
        self,
        api: EventApi,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        headers: Mapping[str, str],
        caller: Caller = UNKNOWN_CALLER,
    ) -> None:
        self._api = api
        self._rates = api.connection_rates()
        # Only handlers need the headers. Without handlers drop them, since 10,000 connections would keep 10,000 copies.
        self._headers = headers if api.has_handlers else {}
        # Only some authorization modes need the caller. Drop it if no mode does, since 10,000 connections would keep
        # 10,000 copies.
        self._caller = caller if api.identifies else UNKNOWN_CALLER
        self._socket = socket
        self._transport = transport
        # The fan-out calls `write` and `buffered_bytes` for every delivery, so use the transport's own methods without
        # a Python wrapper.
        self.write: Callable[[bytes], None] = transport.write
        """Append whole frames to the transport's buffer; raises RuntimeError when the socket is closed."""
        self.buffered_bytes: Callable[[], int] = transport.get_write_buffer_size
        """Return the number of written bytes that the kernel has not accepted yet."""
        self._subscriptions: dict[str, Subscription] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closing: asyncio.Task[None] | None = None
        plain = transport.get_extra_info("sslcontext") is None
        self._descriptor = transport.get_extra_info("socket").fileno() if plain else -1
        self._open = True
        #: True once the first keep-alive message (`ka`) has been sent.
        self._greeted = False
        self._answers: dict[str, Callable[[ClientMessage], Awaitable[None]]] = {
            "connection_init": self._on_connection_init,
            "subscribe": self._on_subscribe,
            "unsubscribe": self._on_unsubscribe,
            "publish": self._on_publish,
        }

    # --- called by the hub (see `hub.Outlet`) ---

    def abort_slow_reader(self) -> None:
        """Abort the connection, whose client does not read fast enough, and count it."""
        if not self._open:
            return
        self._open = False
        self._api.counters.slow_readers_aborted += 1
        _log.warning(
            "dropped a connection with %d unsent bytes (limit %d): its client does not read fast enough",
            self.buffered_bytes(),
            self._api.config.write_buffer_limit_bytes,
        )
        self._transport.abort()

    def write_at_once(self, data: bytes) -> None:
        """Write whole frames directly to the socket if the transport's buffer is empty, else append them to it.

        The transport would send the data later: uvloop sends only at the end of the loop's turn. Over TLS the data is
        always appended, since only the transport can encrypt it.

        Raises:
            RuntimeError: the connection is closing or closed.
        """
        if not self._open:
            raise RuntimeError("the connection is closing")
        if self._descriptor >= 0 and not self.buffered_bytes():
            try:
                sent = os.write(self._descriptor, data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                raise RuntimeError("the socket is gone") from error
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)

    def disconnect(self, code: int) -> None:
        """Close the WebSocket with a code; 1006 cuts the connection without a close frame."""
        if code == ABNORMAL_CLOSURE:
            self._leave()
            self._transport.abort()
        else:
            self.close_soon(code)

    # --- from the first message to the end ---

    async def run(self) -> None:
        """Answer the client's messages until either side closes."""
        loop = asyncio.get_running_loop()
        self._keep_alive(loop)
        self._timers["lifetime"] = loop.call_later(self._api.config.connection_lifetime_s, self.close_soon)
        await converse(
            self._socket,
            self._receive,
            lambda: self.send_error("error", errors.UNSUPPORTED_OPERATION),
            self._leave,
        )

    async def close(self, code: int = NORMAL_CLOSURE) -> None:
        """End the subscriptions and close the WebSocket. AWS was seen to close with 1000 even after failures."""
        self._leave()
        await self._socket.close(code=code)

    def close_soon(self, code: int = NORMAL_CLOSURE) -> None:
        """Close from synchronous code, such as a timer.

        The timer that limits the connection's lifetime closes with code 1000 (assumption).
        """
        # End the subscriptions at once, before the task sends the close frame: no data frame may follow it.
        self._leave()
        self._closing = asyncio.get_running_loop().create_task(self.close(code))

    def send(self, payload: bytes) -> None:
        """Send one text message; do nothing once the connection is closing."""
        if not self._open:
            return
        try:
            self._transport.write(text_frame(payload))
        except RuntimeError:
            return
        if self.buffered_bytes() > self._api.config.write_buffer_limit_bytes:
            self.abort_slow_reader()

    def send_error(self, message_type: str, error: errors.WireError, operation_id: str | None = None) -> None:
        """Send an error message, with the id of the operation that it answers, if any."""
        self.send(messages.error(message_type, [error], operation_id))

    def _leave(self) -> None:
        self._open = False
        for timer in self._timers.values():
            timer.cancel()
        for subscription in self._subscriptions.values():
            self._api.hub.remove(subscription)
        self._subscriptions.clear()

    def _keep_alive(self, loop: asyncio.AbstractEventLoop) -> None:
        interval_s = self._api.config.keepalive_interval_s
        self._timers["keepalive"] = loop.call_later(interval_s, self._send_keepalive, loop)

    def _send_keepalive(self, loop: asyncio.AbstractEventLoop) -> None:
        self.send(messages.KEEPALIVE)
        self._keep_alive(loop)

    # --- answers to the client ---

    async def _receive(self, text: str | bytes) -> None:
        try:
            message = messages.decode_client_message(text)
        except messages.UNREADABLE:
            self.send_error("error", errors.UNSUPPORTED_OPERATION)
            return
        answer = self._answers.get(message.type, self._on_unsupported)
        await answer(message)

    async def _on_unsupported(self, message: ClientMessage) -> None:
        self.send_error("error", errors.UNSUPPORTED_OPERATION)

    async def _on_connection_init(self, message: ClientMessage) -> None:
        self.send(messages.connection_ack(self._api.config.connection_timeout_ms))
        if not self._greeted:
            # AWS sends the first keep-alive message (`ka`) at once, not after a minute (AWS: sst #5729). It may arrive
            # before or after the answer to a subscribe, depending on when the client subscribes.
            self._greeted = True
            self.send(messages.KEEPALIVE)

    async def _on_subscribe(self, message: ClientMessage) -> None:
        operation_id, channel = message.id, message.channel
        if operation_id is None or channel is None:
            await self._on_unsupported(message)
            return
        try:
            _require_operation_id(operation_id)
            pattern = await self._api.subscribe(
                credentials_from(message.authorization), channel, self._headers, self._caller
            )
            if operation_id in self._subscriptions:
                raise RefusedError(errors.duplicated_operation(operation_id))
            limit = self._api.quotas.subscriptions_per_connection
            if limit is not None and len(self._subscriptions) >= limit:
                raise RefusedError(errors.MAX_SUBSCRIPTIONS_REACHED)
        except RefusedError as refused:
            self.send_error("subscribe_error", refused.error, operation_id)
            return
        if not self._open:
            # A timer or the server's shutdown closed the connection while the authorizer ran.
            return
        subscription = Subscription(operation_id, pattern, self)
        # Send the answer before the subscription is active, so that no event arrives before the answer.
        self.send(messages.subscribe_success(operation_id))
        self._subscriptions[operation_id] = subscription
        self._api.hub.add(subscription)

    async def _on_unsubscribe(self, message: ClientMessage) -> None:
        if message.id is None:
            await self._on_unsupported(message)
            return
        subscription = self._subscriptions.pop(message.id, None)
        if subscription is None:
            self.send_error("unsubscribe_error", errors.unknown_operation(message.id), message.id)
            return
        self._api.hub.remove(subscription)
        self.send(messages.unsubscribe_success(message.id))

    async def _on_publish(self, message: ClientMessage) -> None:
        operation_id, channel = message.id, message.channel
        if operation_id is None or channel is None:
            await self._on_unsupported(message)
            return
        events: Any = message.events
        try:
            _require_operation_id(operation_id)
            self._rates.publish()
            response = await self._api.publish(
                credentials_from(message.authorization),
                channel,
                events,
                errors.TOO_MANY_EVENTS_WEBSOCKET,
                headers=self._headers,
                caller=self._caller,
            )
        except RefusedError as refused:
            self.send_error("publish_error", refused.error, operation_id)
            return
        self.send(messages.publish_success(operation_id, response.successful, response.failed))


def _require_operation_id(operation_id: str) -> None:
    if not messages.is_operation_id(operation_id):
        raise RefusedError(errors.INVALID_OPERATION_ID)
