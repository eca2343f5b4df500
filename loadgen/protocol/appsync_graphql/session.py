"""The session of one connection to a GraphQL API; no I/O."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from loadgen import native
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.appsync.realtime import (
    ACTIVE,
    ASKED,
    LEAVING,
    Message,
    OnMessage,
    RealtimeSession,
    unreadable_kind,
)
from loadgen.protocol.appsync_graphql import messages
from loadgen.protocol.appsync_graphql.messages import ServerMessage
from loadgen.protocol.base import PublishFrame, SessionHandler
from loadgen.protocol.generic.patterns import Quick

#: Deviations of a service from AWS; the harness reports them and continues.
SECOND_START_ACK = "start_ack came a second time for a subscription"
START_ACK_UNASKED = "start_ack came for a subscription that nobody asked for"
ERROR_UNASKED = "error came for a subscription that nobody asked for"
COMPLETE_UNASKED = "complete came for a subscription that nobody asked for"
EARLY_DATA = "data came before the start_ack of its subscription"

#: The service ended a subscription without a request, as it does after `invalidateSubscriptions`.
ENDED = "the service ended a subscription (complete without a stop)"


class Api(Protocol):
    """The settings and functions that all sessions of a service share."""

    quick: Quick
    """Extracts the subscription's id and the event's text from a `data` message."""
    template: "native.Template | None"
    """The template by which C code reads `data` messages, or None if `loadgen.native` was not built."""

    def start(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes to a channel, with its authorization."""

    def event_in(self, payload: Any) -> str | None:
        """Return the text of the event in the payload of a `data` message, or None if it has none."""

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display, without secrets."""


class GraphqlSession(RealtimeSession):
    """Implements `Session` for one connection to a GraphQL API.

    Messages are accepted in any order; an order that the protocol does not allow is reported as a deviation.
    """

    __slots__ = ("_service",)

    early_delivery: Final = EARLY_DATA

    def __init__(self, service: Api, handler: SessionHandler) -> None:
        super().__init__(handler)
        self._service = service
        self.receive = self._make_receive()

    def opening(self) -> Sequence[bytes]:
        """Return `connection_init`: a newer AWS guide calls it optional, but without it no `connection_ack` comes."""
        return (messages.CONNECTION_INIT,)

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a `start` with its authorization."""
        self._subscriptions[subscription_id] = ASKED
        return self._service.start(subscription_id, channel)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return a `stop` message."""
        self._subscriptions[subscription_id] = LEAVING
        return messages.stop(subscription_id)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Never called: mutations go over HTTP."""
        raise NotImplementedError

    def fast_path(
        self, rows: native.Rows, numbers: Mapping[str, int], place: NativePlace
    ) -> native.FastPath | None:
        """Return a fast path in C for `data` messages of these subscriptions, or None if Python must process them.

        The C code cannot verify the checksums that a scenario may ask for.
        """
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
        # In the hot path, use a closure: its variables are faster to read than attributes of a method's object.
        (decode, take), on_event, on_other = self._service.quick, self._handler.on_event, self._on_other

        def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
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
            handler.on_undecodable(unreadable_kind(error, text), partial(self._service.shown, text))
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
                self._on_keepalive()
            case "connection_ack":
                self._on_ack(_timeout_ms(message.payload), arrival_ns)
            case "connection_error":
                self._on_refused(message)
            case "start_ack" if request is not None:
                stood = self._subscriptions.get(request)
                if stood == ASKED:
                    self._subscriptions[request] = ACTIVE
                elif stood != LEAVING:
                    handler.on_deviation(START_ACK_UNASKED if stood is None else SECOND_START_ACK)
                handler.on_subscribed(request, arrival_ns)
            case "complete" if request is not None:
                stood = self._subscriptions.pop(request, None)
                if stood is None:
                    handler.on_deviation(COMPLETE_UNASKED)
                elif stood != LEAVING:
                    handler.on_service_error(ENDED)
            case "error":
                self._on_error(message)
            case kind if message.errors or kind.endswith("error"):
                handler.on_service_error(message.describe_errors())
            case _:
                handler.on_undecodable(unreadable.UNKNOWN_TYPE, partial(self._service.shown, text))

    def _on_data(
        self, message: ServerMessage, text: bytes | bytearray, arrival_ns: int, read_ns: int
    ) -> None:
        """Process a `data` message that the quick decoder refuses: it has no id, no event, or an unusual form.

        An event is missing if the mutation's selection set lacks the event's field, because subscribers get only fields
        that the mutation asked for (secondary source). The `data` message may then contain errors that tell this.
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
            asked = [name for name, stood in self._subscriptions.items() if stood == ASKED]
            if len(asked) != 1:
                handler.on_service_error(message.describe_errors())
                return
            (request,) = asked
        stood = self._subscriptions.pop(request, None)
        if stood == ACTIVE:
            handler.on_service_error(f"the service ended a subscription: {message.describe_errors()}")
            return
        if stood == LEAVING:
            handler.on_service_error(f"a stop was refused: {message.describe_errors()}")
            return
        if stood is None:
            handler.on_deviation(ERROR_UNASKED)
        handler.on_subscribe_failed(request, message.describe_errors(), message.refusal())


def _timeout_ms(payload: Any) -> int | None:
    timeout_ms = payload.get("connectionTimeoutMs") if isinstance(payload, dict) else None
    return timeout_ms if isinstance(timeout_ms, int) and not isinstance(timeout_ms, bool) else None
