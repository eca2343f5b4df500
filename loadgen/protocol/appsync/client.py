"""The client side of AWS AppSync Events: implements the interface of `loadgen.protocol.base`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from loadgen import native
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.appsync import messages
from loadgen.protocol.appsync.auth import (
    SUBPROTOCOL,
    ApiKey,
    BearerToken,
    Credential,
    encode_header_subprotocol,
    publish_body,
    subscribe_body,
)
from loadgen.protocol.appsync.channels import normalise
from loadgen.protocol.appsync.endpoints import Endpoints
from loadgen.protocol.appsync.realtime import (
    ACTIVE,
    ASKED,
    LEAVING,
    Message,
    OnMessage,
    RealtimeService,
    RealtimeSession,
    unreadable_answer,
    unreadable_kind,
)
from loadgen.protocol.base import (
    ClientLogins,
    Handshake,
    HttpRequest,
    PublishAnswer,
    PublishFrame,
    SessionHandler,
)

_decode_data = messages.decode_data_message
_decode = messages.decode_server_message
_UNREADABLE = messages.UNREADABLE

#: Replaces `*` in the channel of a readiness probe, the event that shows whether a wildcard subscription delivers.
PROBE_SEGMENT = "loadgen-probe"


#: Deviations of a service from AWS; the harness reports them and continues.
EVENT_IS_A_LIST = "a data frame's event is a list, as in the documentation; AWS sends a string"
NO_EVENT = "a data frame has no event"
SECOND_SUCCESS = "subscribe_success came a second time for a subscription"
SUCCESS_UNASKED = "subscribe_success came for a subscription that nobody asked for"
ERROR_UNASKED = "subscribe_error came for a subscription that nobody asked for"
LATE_ERROR = "subscribe_error came for a subscription that had its subscribe_success"
UNSUBSCRIBE_UNASKED = "unsubscribe_success came for a subscription that nobody gave up"
PUBLISH_UNASKED = "an answer came to a publish that nobody made, or that had its answer"
EARLY_DATA = "data came before the subscribe_success of its subscription"


class AppSyncSession(RealtimeSession):
    """Implements `Session` for one connection to an Event API.

    Messages are accepted in any order; an order that the protocol does not allow is reported as a deviation. A `ka` is
    allowed before and after a `subscribe_success`: on AWS, the first `ka` comes at either time (sst #5729).
    """

    __slots__ = ("_lane", "_publishes", "_service")

    early_delivery: Final = EARLY_DATA

    def __init__(self, service: "AppSyncEvents", handler: SessionHandler) -> None:
        super().__init__(handler)
        #: Ids of unanswered publishes, or None until the first publish: most connections never publish.
        self._publishes: set[str] | None = None
        #: Object in C that sends some of the publishes, or None if the method `publish` sends all of them.
        self._lane: native.PublishLane | None = None
        self._service = service
        self.receive = self._make_receive()

    def opening(self) -> Sequence[bytes]:
        """Return `connection_init`: AWS documents it as optional, but a server sends `connection_ack` only after it."""
        return (messages.connection_init(),)

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return a `subscribe` with its authorization."""
        channel = normalise(channel)
        self._subscriptions[subscription_id] = ASKED
        return messages.subscribe(subscription_id, channel, self._service.subscribe_authorization(channel))

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return an `unsubscribe`."""
        self._subscriptions[subscription_id] = LEAVING
        return messages.unsubscribe(subscription_id)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return a `publish` with its authorization; the events are texts."""
        if self._publishes is None:
            self._publishes = set()
        self._publishes.add(publish_id)
        authorization = self._service.publish_authorization(channel, events)
        return messages.publish(publish_id, channel, events, authorization)

    def fast_path(
        self, rows: native.Rows, numbers: Mapping[str, int], place: NativePlace
    ) -> native.FastPath | None:
        """Return C code that processes deliveries to these subscriptions; ``place`` locates the stamp in an event."""
        fast_path = native.DeliveryFastPath(rows, place.tokens, place.checked)
        for subscription_id, number in numbers.items():
            fast_path.add(subscription_id, number)
        return fast_path

    def use_lane(self, lane: native.PublishLane) -> Callable[[str], PublishFrame | None]:
        """Let ``lane`` (C code) send publishes; return the function from which it gets a channel's frame template."""
        self._lane = lane
        return self._service.publish_frame

    def _make_receive(self) -> OnMessage:
        # In the hot path, use a closure: its variables are faster to read than attributes of a method's object.
        decode, on_event, on_other = _decode_data, self._handler.on_event, self._on_other

        def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
            if b'"data"' not in message:
                # This search recognises most messages that are not deliveries, in a tenth of the time of a failed
                # decoding.
                on_other(message, arrival_ns, read_ns)
                return
            try:
                delivery = decode(message)
            except _UNREADABLE:
                on_other(message, arrival_ns, read_ns)
                return
            on_event(delivery.id, delivery.event, arrival_ns, read_ns)

        return receive

    def _on_other(self, text: bytes | bytearray, arrival_ns: int, read_ns: int) -> None:
        """Process any message that is not a delivery in AWS's form."""
        handler = self._handler
        try:
            message = _decode(text)
        except _UNREADABLE as error:
            handler.on_undecodable(unreadable_kind(error, text), partial(self._service.shown, text))
            return
        request = message.id
        if message.type == "data":
            if request is None:
                handler.on_undecodable(unreadable.NO_ID, partial(self._service.shown, text))
                return
            if isinstance(message.event, str):
                # The message's `type` is written with JSON escapes, so `receive` did not recognise the delivery.
                handler.on_event(request, message.event, arrival_ns, read_ns)
                return
            handler.on_deviation(EVENT_IS_A_LIST if message.event is not None else NO_EVENT)
            for event in message.event or ():
                handler.on_event(request, event, arrival_ns, read_ns)
            return
        match message.type:
            case "ka":
                self._on_keepalive()
            case "connection_ack":
                self._on_ack(message.connection_timeout_ms, arrival_ns)
            case "connection_error":
                self._on_refused(message)
            case "subscribe_success" if request is not None:
                self._on_success(request)
                handler.on_subscribed(request, arrival_ns)
            case "subscribe_error" if request is not None:
                stood = self._subscriptions.pop(request, None)
                if stood is None or stood == ACTIVE:
                    handler.on_deviation(ERROR_UNASKED if stood is None else LATE_ERROR)
                handler.on_subscribe_failed(request, message.describe_errors(), message.refusal())
            case "publish_success" if request is not None:
                self._on_answer(request)
                handler.on_published(request, _answer(message.failed or ()), arrival_ns)
            case "publish_error" if request is not None:
                self._on_answer(request)
                handler.on_published(request, PublishAnswer(error=message.describe_errors()), arrival_ns)
            case "unsubscribe_success":
                if self._subscriptions.get(request or "") == LEAVING:
                    del self._subscriptions[request or ""]
                else:
                    handler.on_deviation(UNSUBSCRIBE_UNASKED)
            case kind if message.errors or kind.endswith("error"):
                handler.on_service_error(message.describe_errors())
            case _:
                handler.on_undecodable(unreadable.UNKNOWN_TYPE, partial(self._service.shown, text))

    def _on_success(self, subscription_id: str) -> None:
        stood = self._subscriptions.get(subscription_id)
        if stood == ASKED:
            self._subscriptions[subscription_id] = ACTIVE
        elif stood != LEAVING:
            self._handler.on_deviation(SUCCESS_UNASKED if stood is None else SECOND_SUCCESS)

    def _on_answer(self, publish_id: str) -> None:
        if self._publishes is not None and publish_id in self._publishes:
            self._publishes.discard(publish_id)
        elif self._lane is None or publish_id not in self._lane:
            self._handler.on_deviation(PUBLISH_UNASKED)


#: Credentials that are the same for every request, because they contain no signature of the request.
_SIGNS_NOTHING: Final = (ApiKey, BearerToken)
#: Maximum number of publish frames to keep; each has some 200 bytes.
_MOST_FRAMES: Final = 1_024


class AppSyncEvents(RealtimeService):
    """Implements `Service` for an Event API: its endpoints and a credential for each operation."""

    __slots__ = ("_frames",)

    def __init__(self, endpoints: Endpoints, credential: Credential) -> None:
        super().__init__(endpoints, credential)
        #: The frames of publishes by channel, each with the authorization that the frame contains.
        self._frames: dict[str, tuple[Mapping[str, str], PublishFrame]] = {}

    def _use(self, logins: ClientLogins) -> None:
        super()._use(logins)
        if logins.publish is not None:
            self._frames = {}

    def _normal(self, channel: str) -> str:
        return normalise(channel)

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the documented handshake: its subprotocols are the protocol's name and the encoded authorization."""
        return self._handshake_by(
            lambda headers: Handshake((SUBPROTOCOL, encode_header_subprotocol(headers)))
        )

    def session(self, handler: SessionHandler, name: str = "") -> AppSyncSession:
        """Return a new session; ``name`` is ignored."""
        return AppSyncSession(self, handler)

    def subscribe_authorization(self, channel: str) -> dict[str, str]:
        """Return the `authorization` of a subscribe frame; ``channel`` is in its normal form."""
        credential = self._subscribes_by(channel)
        # Only a signature covers the body; keys and tokens do not.
        signs = not isinstance(credential, _SIGNS_NOTHING)
        return self._authorization(credential, subscribe_body(channel) if signs else b"")

    def publish_authorization(self, channel: str, events: Sequence[str]) -> dict[str, str]:
        """Return the `authorization` of a publish frame."""
        credential = self._publish
        # Only a signature covers the body; keys and tokens do not.
        signs = not isinstance(credential, _SIGNS_NOTHING)
        return self._authorization(credential, publish_body(channel, list(events)) if signs else b"")

    def publish_frame(self, channel: str) -> PublishFrame | None:
        """Return the frame template for all publishes to a channel, or None if each publish needs its own signature."""
        credential = self._publish
        if not isinstance(credential, _SIGNS_NOTHING):
            return None
        authorization = self._sent = credential.frame_authorization(self._host, b"")
        known = self._frames.get(channel)
        if known is not None and known[0] == authorization:
            return known[1]
        if len(self._frames) >= _MOST_FRAMES:
            self._frames.clear()
        frame = messages.publish_frame(channel, authorization)
        self._frames[channel] = authorization, frame
        return frame

    def _authorization(self, credential: Credential, body: bytes) -> dict[str, str]:
        authorization = credential.frame_authorization(self._host, body)
        self._sent = authorization
        return authorization

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the `POST /event` request that publishes a batch."""
        body = messages.publish_request(channel, events)
        self._sent = self._publish.headers(self._host, body)
        return HttpRequest(body, {"content-type": "application/json", **self._sent})

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Parse the answer to a `POST /event`; an unreadable answer becomes an error that says so."""
        try:
            if status == 200:
                return _answer(messages.decode_publish_response(body).failed)
            errors = messages.decode_error_response(body).errors
        except messages.UNREADABLE:
            return unreadable_answer(status, body, "a publish answer")
        refusal = messages.refusal_of(errors, status)
        return PublishAnswer(
            error=unreadable.cut("; ".join(map(str, errors))) or f"HTTP {status}", refusal=refusal
        )

    def channel_for(self, pattern: str) -> str:
        """Return a channel whose events a subscription to ``pattern`` receives."""
        return pattern.removesuffix("*") + PROBE_SEGMENT if pattern.endswith("/*") else pattern


def _answer(failed: Sequence[messages.FailedEvent]) -> PublishAnswer:
    if not failed:
        return _ALL_ACCEPTED
    return PublishAnswer(
        rejected={event.index if event.index is not None else 0: event.describe() for event in failed}
    )


_ALL_ACCEPTED = PublishAnswer()
