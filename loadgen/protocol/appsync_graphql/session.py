"""The session of one connection to a GraphQL API; no I/O."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from loadgen import native
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.appsync_graphql import messages
from loadgen.protocol.appsync_graphql.messages import ServerMessage
from loadgen.protocol.base import PublishFrame, SessionHandler
from loadgen.protocol.generic.patterns import Quick

OnMessage = Callable[[bytes | bytearray, int, int], None]

#: Deviations of a service from AWS; the harness reports them and continues.
NO_TIMEOUT = "connection_ack has no connectionTimeoutMs"
IMPOSSIBLE_TIMEOUT = "connection_ack has an impossible connectionTimeoutMs"
EARLY_KEEPALIVE = "a ka came before connection_ack"
SECOND_ACK = "connection_ack came a second time"
LATE_REFUSAL = "connection_error came after connection_ack"
SECOND_START_ACK = "start_ack came a second time for a subscription"
START_ACK_UNASKED = "start_ack came for a subscription that nobody asked for"
ERROR_UNASKED = "error came for a subscription that nobody asked for"
COMPLETE_UNASKED = "complete came for a subscription that nobody asked for"
EARLY_DATA = "data came before the start_ack of its subscription"

#: The service ended a subscription by itself, as after `invalidateSubscriptions`.
ENDED = "the service ended a subscription (complete without a stop)"
_MOST_TIMEOUT_MS: Final = 1 << 40
#: A shorter timeout from the service is reported and not applied, as it would end every connection between two events.
_LEAST_TIMEOUT_MS: Final = 100
#: States of a subscription.
_ASKED, _ACTIVE, _LEAVING = 0, 1, 2


class Api(Protocol):
    """The settings and functions that all sessions of a service share."""

    quick: Quick
    """Takes the subscription's id and the event's text out of a `data` message."""
    template: "native.Template | None"
    """The same for `loadgen.native`, or None if it is not there."""

    def start(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes to a channel, with its authorization."""

    def event_in(self, payload: Any) -> str | None:
        """Return the text of the event in the payload of a `data` message, or None if it has none."""

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display, without secrets."""


class GraphqlSession:
    """Implements `Session` for one connection to a GraphQL API.

    Messages are accepted in any order; an order that the protocol does not allow is reported as a deviation.
    """

    __slots__ = ("_acknowledged", "_handler", "_service", "_subscriptions", "receive", "timeout_ns")

    receive: OnMessage
    """Processes a message of the service and calls the handler."""
    early_delivery: Final = EARLY_DATA
    #: Any number of events may be unanswered: each mutation is an HTTP request.
    most_unanswered: Final = 0
    #: The client sends no keepalives, as the service sends its own.
    keepalive_ns: Final = None

    def __init__(self, service: Api, handler: SessionHandler) -> None:
        self.timeout_ns: int | None = None
        self._acknowledged = False
        self._subscriptions: dict[str, int] = {}
        self._service = service
        self._handler = handler
        self.receive = self._make_receive()

    def opening(self) -> Sequence[bytes]:
        """Return `connection_init`: a newer guide calls it optional, but `connection_ack` answers only it."""
        return (messages.CONNECTION_INIT,)

    def awaits(self) -> str:
        """Return an empty text: `connection_ack` is the only message that the opening can wait for."""
        return ""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a `start` with its authorization."""
        self._subscriptions[subscription_id] = _ASKED
        return self._service.start(subscription_id, channel)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return a `stop`."""
        self._subscriptions[subscription_id] = _LEAVING
        return messages.stop(subscription_id)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Never called: mutations go over HTTP."""
        raise NotImplementedError

    def keepalive(self) -> bytes:
        """Return no bytes: the service expects no keepalive."""
        return b""

    def closing(self) -> bytes:
        """Return no bytes: the WebSocket close frame is enough."""
        return b""

    def fast_path(
        self, rows: native.Rows, numbers: Mapping[str, int], place: NativePlace
    ) -> native.FastPath | None:
        """Return a fast path for `data` messages of these subscriptions, or None for events with a checksum."""
        template = self._service.template
        if template is None or place.checked:
            return None
        lane = native.TemplateFastPath(rows, place.tokens, template, native.TEXT_FRAMES)
        for subscription_id, number in numbers.items():
            lane.add(subscription_id, number)
        return lane

    def use_lane(self, lane: native.PublishLane) -> Callable[[str], PublishFrame | None] | None:
        """Return None: mutations go over HTTP."""
        return None

    def _make_receive(self) -> OnMessage:
        # The hot path: variables of a closure are faster to read than attributes of a method's object.
        (decode, take), on_event, on_other = self._service.quick, self._handler.on_event, self._on_other

        def receive(message: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
            try:
                subscription_id, event = take(decode(message))
            except messages.UNREADABLE:
                on_other(message, arrival_ns, read_ns)
                return
            on_event(subscription_id, event, arrival_ns, read_ns)

        return receive

    def _on_other(self, text: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Process any message that is not a delivery in the usual form."""
        handler = self._handler
        try:
            message = messages.decode(text)
        except messages.UNREADABLE as error:
            handler.on_undecodable(_kind_of(error, text), partial(self._service.shown, text))
            return
        if not unreadable.is_utf8(text):
            # The decoder skips unknown keys and their values, so invalid UTF-8 may remain in them.
            handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(self._service.shown, text))
            return
        request = message.id
        match message.type:
            case "data":
                self._on_data(message, text, arrival_ns, read_ns)
            case "ka":
                if not self._acknowledged:
                    handler.on_deviation(EARLY_KEEPALIVE)
            case "connection_ack":
                self._on_ack(message, arrival_ns)
            case "connection_error":
                if self._acknowledged:
                    handler.on_deviation(LATE_REFUSAL)
                handler.on_refused(message.describe_errors(), message.refusal())
            case "start_ack" if request is not None:
                stood = self._subscriptions.get(request)
                if stood == _ASKED:
                    self._subscriptions[request] = _ACTIVE
                elif stood != _LEAVING:
                    handler.on_deviation(START_ACK_UNASKED if stood is None else SECOND_START_ACK)
                handler.on_subscribed(request, arrival_ns)
            case "complete" if request is not None:
                stood = self._subscriptions.pop(request, None)
                if stood is None:
                    handler.on_deviation(COMPLETE_UNASKED)
                elif stood != _LEAVING:
                    handler.on_service_error(ENDED)
            case "error":
                self._on_error(message)
            case kind if message.errors or kind.endswith("error"):
                handler.on_service_error(message.describe_errors())
            case _:
                handler.on_undecodable(unreadable.UNKNOWN_TYPE, partial(self._service.shown, text))

    def _on_ack(self, message: ServerMessage, arrival_ns: int) -> None:
        handler = self._handler
        if self._acknowledged:
            handler.on_deviation(SECOND_ACK)
        self._acknowledged = True
        payload = message.payload
        timeout_ms = payload.get("connectionTimeoutMs") if isinstance(payload, dict) else None
        if not isinstance(timeout_ms, int) or isinstance(timeout_ms, bool):
            handler.on_deviation(NO_TIMEOUT)
        elif not _LEAST_TIMEOUT_MS <= timeout_ms < _MOST_TIMEOUT_MS:
            handler.on_deviation(IMPOSSIBLE_TIMEOUT)
        else:
            self.timeout_ns = timeout_ms * 1_000_000
        handler.on_connected(arrival_ns)

    def _on_data(
        self, message: ServerMessage, text: bytes | bytearray, arrival_ns: int, read_ns: int
    ) -> None:
        """Process a `data` message that the quick decoder refuses: it has no id, no event, or an unusual form.

        An event is missing if the mutation's selection set lacks its field, since subscribers get only fields that the
        mutation asked for (secondary source); its errors, if any, say so.
        """
        handler = self._handler
        if message.id is None:
            handler.on_undecodable(unreadable.NO_ID, partial(self._service.shown, text))
            return
        event = self._service.event_in(message.payload)
        if event is not None:
            handler.on_event(message.id, event, arrival_ns, read_ns)
            return
        if message.errors:
            handler.on_service_error(f"a data message has errors: {message.describe_errors()}")
        handler.on_undecodable(unreadable.NO_EVENT, partial(self._service.shown, text))

    def _on_error(self, message: ServerMessage) -> None:
        """Process an `error`, which refuses a `start`, ends a subscription, or belongs to no operation.

        An error without an id refuses the subscription that awaits its answer, if exactly one does (assumption).
        """
        handler, request = self._handler, message.id
        if request is None:
            asked = [name for name, stood in self._subscriptions.items() if stood == _ASKED]
            if len(asked) != 1:
                handler.on_service_error(message.describe_errors())
                return
            (request,) = asked
        stood = self._subscriptions.pop(request, None)
        if stood == _ACTIVE:
            handler.on_service_error(f"the service ended a subscription: {message.describe_errors()}")
            return
        if stood == _LEAVING:
            handler.on_service_error(f"a stop was refused: {message.describe_errors()}")
            return
        if stood is None:
            handler.on_deviation(ERROR_UNASKED)
        handler.on_subscribe_failed(request, message.describe_errors(), message.refusal())


def _kind_of(error: Exception, message: bytes | bytearray) -> str:
    if not unreadable.is_utf8(message):
        return unreadable.MESSAGE_NOT_UTF8
    return unreadable.UNKNOWN_FORM if isinstance(error, msgspec.ValidationError) else unreadable.NOT_JSON
