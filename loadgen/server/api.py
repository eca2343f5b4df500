"""The Event API without sockets: allow or refuse each operation, and choose the error of a refusal."""

from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import uuid4

import msgspec

from loadgen.protocol.appsync import errors, limits
from loadgen.protocol.appsync.auth import CONNECT_BODY, publish_body, subscribe_body
from loadgen.protocol.appsync.channels import ChannelError, validate_publish, validate_subscribe
from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.appsync.messages import UNREADABLE, FailedEvent, PublishResponse, SuccessfulEvent
from loadgen.server import handlers
from loadgen.server.auth.access import AccessControl
from loadgen.server.auth.base import UNKNOWN_CALLER, AuthorizationRequest, Caller, Identity, Operation
from loadgen.server.config import ServerConfig
from loadgen.server.definition import ApiDefinition
from loadgen.server.hub import Counters, Hub
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace, Namespaces
from loadgen.server.quotas import ApiRates, ConnectionRates, TokenBucket
from loadgen.server.refusal import RefusedError
from loadgen.server.synchronous import SynchronousCalls

#: Code of an event that the fault settings reject. The code is this server's own; AWS has none for this case.
_INJECTED_CODE = 500
_INJECTED_MESSAGE = "rejected on purpose by the server's fault settings"
#: Code in `failed` of an event that a handler returned with an error. This code is an assumption: AWS documents only
#: that such an event is listed in `failed`.
_HANDLER_CODE = "HandlerError"
_require_json = msgspec.json.Decoder(msgspec.Raw).decode
_NO_HEADERS: Mapping[str, str] = {}


class EventApi:
    """One Event API with its namespaces, authorization, handlers, quotas and hub, for the HTTP and WebSocket server."""

    def __init__(self, config: ServerConfig, hub: Hub | None = None, rates: ApiRates | None = None) -> None:
        definition = config.definition or ApiDefinition.simple(config.namespaces, config.api_key)
        self.config = config
        self.quotas = config.quotas
        self.hub = Hub(config.write_buffer_limit_bytes, Counters()) if hub is None else hub
        self.counters = self.hub.counters
        self._rates = ApiRates(config.quotas) if rates is None else rates
        subscribes = None if config.faults is None else config.faults.subscribes
        self._subscribes = None if subscribes is None else TokenBucket(subscribes.rate_per_s)
        self._namespaces = Namespaces(definition.namespaces)
        self.has_handlers = any(
            namespace.on_publish or namespace.on_subscribe for namespace in definition.namespaces
        )
        """True if a namespace has a handler, which may read the headers of requests."""
        self.identifies = any(authorizer.mode is not Mode.API_KEY for authorizer in definition.authorizers)
        """True if an authorization mode other than API keys is set: such a mode needs the caller's address and host."""
        #: Runs the handlers that are ordinary functions, not coroutine functions.
        self._calls = SynchronousCalls()
        self._access = AccessControl(definition.authorizers, definition.allowed)

    def connection_rates(self) -> ConnectionRates:
        """Return unused rate limits for a new connection."""
        return ConnectionRates(self.quotas)

    async def connect(self, credentials: Mapping[str, str], caller: Caller = UNKNOWN_CALLER) -> None:
        """Allow a WebSocket connection.

        Raises:
            RefusedError: too many connections a second, or bad credentials.
        """
        self._rates.connect()
        try:
            await self._access.authorize(
                AuthorizationRequest(Operation.CONNECT, credentials, lambda: CONNECT_BODY, caller=caller)
            )
        except RefusedError as refused:
            if refused.error == errors.UNAUTHORIZED:
                raise RefusedError(errors.CONNECT_UNAUTHORIZED, refused.status) from None
            raise

    async def subscribe(
        self,
        credentials: Mapping[str, str],
        channel: str,
        headers: Mapping[str, str] = _NO_HEADERS,
        caller: Caller = UNKNOWN_CALLER,
    ) -> str:
        """Allow a subscription and return its normalised channel or pattern.

        `headers` are those of the upgrade request, with lower-case names; only a handler sees them.

        Raises:
            RefusedError: bad credentials, a bad channel or an unknown namespace; or the handler or the fault settings
                refuse.
        """
        if self._subscribes is not None and not self._subscribes.try_take():
            raise RefusedError(errors.LIMIT_EXCEEDED, HTTPStatus.TOO_MANY_REQUESTS)
        identity = await self._authorize(
            Operation.SUBSCRIBE, credentials, channel, partial(subscribe_body, channel), caller
        )
        try:
            pattern = validate_subscribe(channel)
        except ChannelError:
            raise RefusedError(errors.INVALID_CHANNEL) from None
        namespace = self._require_namespace(channel)
        if namespace.on_subscribe is not None:
            ctx = handlers.context("SUBSCRIBE", pattern, namespace.name, identity, headers)
            await handlers.run_on_subscribe(namespace.on_subscribe, ctx, self._calls)
        return pattern

    async def publish(
        self,
        credentials: Mapping[str, str],
        channel: str,
        events: Any,
        too_many_events: WireError,
        signed: bytes | None = None,
        headers: Mapping[str, str] = _NO_HEADERS,
        caller: Caller = UNKNOWN_CALLER,
    ) -> PublishResponse:
        """Deliver a batch to the subscribers and return the outcome of each event.

        `too_many_events` is the error for a batch above the limit, which the two transports word differently. `signed`
        is the body that a signature covers, or None if it is `publish_body(channel, events)`. An event that is too
        large does not fail the rest of its batch (seen on AWS). A batch with an event that is not JSON is refused as a
        whole (assumption).

        Raises:
            RefusedError: bad credentials, a bad channel, an unknown namespace, an invalid batch, too many events a
                second, or the handler refuses.
        """
        body = partial(publish_body, channel, events) if signed is None else lambda: signed
        identity = await self._authorize(Operation.PUBLISH, credentials, channel, body, caller)
        try:
            normal = validate_publish(channel)
        except ChannelError:
            raise RefusedError(errors.INVALID_CHANNEL) from None
        namespace = self._require_namespace(channel)
        texts = self._checked_batch(events, too_many_events)
        self._rates.publish(len(texts))
        identifiers = [str(uuid4()) for _ in texts]
        outcomes: Sequence[handlers.Outcome | str | None] = texts
        if namespace.on_publish is not None:
            ctx = handlers.context("PUBLISH", normal, namespace.name, identity, headers)
            handled = await handlers.run_on_publish(
                namespace.on_publish, ctx, dict(zip(identifiers, texts, strict=True)), self._calls
            )
            outcomes = [handled.get(identifier) for identifier in identifiers]
        if self.hub.full:
            await self.hub.wait_for_room()
        return self._broadcast(normal, identifiers, outcomes)

    def _broadcast(
        self, channel: str, identifiers: Sequence[str], outcomes: Sequence[handlers.Outcome | str | None]
    ) -> PublishResponse:
        """Deliver the accepted events and return the response; None in ``outcomes`` is an event that a handler dropped.

        A dropped event counts as successful in the response (assumption).
        """
        self.counters.publishes += 1
        accepted: list[str] = []
        response = PublishResponse()
        for index, (identifier, outcome) in enumerate(zip(identifiers, outcomes, strict=True)):
            text = outcome if isinstance(outcome, str) else None
            failure: tuple[str | int, str] | None = None
            if isinstance(outcome, handlers.Outcome):
                text = outcome.text
                if outcome.error is not None:
                    failure = (_HANDLER_CODE, outcome.error)
            if text is not None:
                failure = self._failure(channel, text)
            if failure is not None:
                response.failed.append(FailedEvent(failure[0], identifier, index, failure[1]))
                continue
            response.successful.append(SuccessfulEvent(identifier, index))
            if text is not None:
                accepted.append(text)
        written = self.hub.publish(channel, accepted)
        if self._rates.meters_deliveries:
            for text in accepted:
                self._rates.delivered(written, len(text.encode()))
        return response

    def _failure(self, channel: str, text: str) -> tuple[str | int, str] | None:
        limit = self.quotas.event_bytes
        # A character has at most four bytes in UTF-8, so most events need not be encoded to be measured.
        if limit is not None and 4 * len(text) > limit and len(text.encode()) > limit:
            return errors.EVENT_TOO_LARGE_CODE, errors.EVENT_TOO_LARGE_MESSAGE
        if self.hub.rejects(channel, text):
            return _INJECTED_CODE, _INJECTED_MESSAGE
        return None

    async def _authorize(
        self,
        operation: Operation,
        credentials: Mapping[str, str],
        channel: str,
        signed_body: Any,
        caller: Caller,
    ) -> Identity | None:
        namespace = self._namespaces.of(channel)
        return await self._access.authorize(
            AuthorizationRequest(operation, credentials, signed_body, channel, namespace, caller)
        )

    def _require_namespace(self, channel: str) -> Namespace:
        namespace = self._namespaces.of(channel)
        if namespace is None:
            raise RefusedError(errors.UNDEFINED_NAMESPACE, HTTPStatus.UNAUTHORIZED)
        return namespace

    def _checked_batch(self, events: Any, too_many_events: WireError) -> list[str]:
        """Return the events of a valid batch.

        Raises:
            RefusedError: the batch is not a list of JSON texts, or has too many events or bytes.
        """
        if not isinstance(events, list) or not events:
            raise RefusedError(errors.INVALID_EVENTS)
        if len(events) > limits.EVENTS_PER_PUBLISH:
            raise RefusedError(too_many_events)
        if not all(isinstance(event, str) for event in events):
            raise RefusedError(errors.INVALID_EVENTS)
        limit = self.quotas.payload_bytes
        if limit is not None and sum(len(event.encode()) for event in events) > limit:
            raise RefusedError(errors.PAYLOAD_TOO_LARGE, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            for event in events:
                _require_json(event)
        except UNREADABLE:
            raise RefusedError(errors.INVALID_EVENTS) from None
        return events
