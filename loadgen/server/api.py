"""The Event API without its sockets: what is allowed, what is refused and with which error."""

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec

from loadgen.protocol.appsync import errors, limits
from loadgen.protocol.appsync.auth import CONNECT_BODY, publish_body, subscribe_body
from loadgen.protocol.appsync.channels import ChannelError, validate_publish, validate_subscribe
from loadgen.protocol.appsync.errors import WireError
from loadgen.protocol.appsync.messages import FailedEvent, PublishResponse, SuccessfulEvent
from loadgen.server.authorizer import ApiKeyAuthorizer, AuthorizationRequest, Authorizer, Operation
from loadgen.server.config import ServerConfig
from loadgen.server.hub import Counters, Hub
from loadgen.server.namespaces import Namespaces

#: Code of an event that a fault setting refuses (ours: AWS has no such thing).
_INJECTED_CODE = 500
_require_json = msgspec.json.Decoder(msgspec.Raw).decode


class RefusedError(Exception):
    """An operation is refused; `error` is what the client is told."""

    def __init__(self, error: WireError) -> None:
        super().__init__(str(error))
        self.error = error


class EventApi:
    """One Event API: its namespaces, its authorizer and its hub. Both transports call it."""

    def __init__(
        self, config: ServerConfig, authorizer: Authorizer | None = None, hub: Hub | None = None
    ) -> None:
        self.config = config
        self.hub = Hub(config.write_buffer_limit_bytes, Counters()) if hub is None else hub
        self.counters = self.hub.counters
        self._namespaces = Namespaces(config.namespaces)
        self._authorizer: Authorizer = authorizer or ApiKeyAuthorizer([config.api_key])

    async def connect(self, credentials: Mapping[str, str]) -> None:
        """Allow a WebSocket connection.

        Raises:
            RefusedError: the credentials are not good.
        """
        request = AuthorizationRequest(Operation.CONNECT, credentials, lambda: CONNECT_BODY)
        error = await self._authorizer.authorize(request)
        if error is not None:
            raise RefusedError(errors.CONNECT_UNAUTHORIZED if error == errors.UNAUTHORIZED else error)

    async def subscribe(self, credentials: Mapping[str, str], channel: str) -> str:
        """Allow a subscription and return its normalised channel or pattern.

        Raises:
            RefusedError: bad credentials, bad channel or no such namespace.
        """
        await self._authorize(Operation.SUBSCRIBE, credentials, channel, partial(subscribe_body, channel))
        try:
            pattern = validate_subscribe(channel)
        except ChannelError:
            raise RefusedError(errors.INVALID_CHANNEL) from None
        self._require_namespace(channel)
        return pattern

    async def publish(
        self, credentials: Mapping[str, str], channel: str, events: Any, too_many_events: WireError
    ) -> PublishResponse:
        """Deliver a batch to the subscribers and return what became of each event.

        `too_many_events` is worded differently by the two transports. An event that is too large fails
        alone (real); one that is not JSON refuses the batch (assumption).

        Raises:
            RefusedError: bad credentials, bad channel, no such namespace, or a batch that breaks the rules.
        """
        await self._authorize(Operation.PUBLISH, credentials, channel, partial(publish_body, channel, events))
        try:
            normal = validate_publish(channel)
        except ChannelError:
            raise RefusedError(errors.INVALID_CHANNEL) from None
        self._require_namespace(channel)
        texts = _checked_batch(events, too_many_events)
        self.counters.publishes += 1
        accepted: list[str] = []
        response = PublishResponse()
        for index, (text, size) in enumerate(texts):
            identifier = str(uuid4())
            if size > limits.EVENT_MAX_BYTES:
                response.failed.append(
                    FailedEvent(
                        identifier, index, errors.EVENT_TOO_LARGE_CODE, errors.EVENT_TOO_LARGE_MESSAGE
                    )
                )
            elif self.hub.rejects(normal, text):
                response.failed.append(
                    FailedEvent(
                        identifier,
                        index,
                        _INJECTED_CODE,
                        "rejected on purpose by the server's fault settings",
                    )
                )
            else:
                response.successful.append(SuccessfulEvent(identifier, index))
                accepted.append(text)
        self.hub.publish(normal, accepted)
        return response

    async def _authorize(
        self, operation: Operation, credentials: Mapping[str, str], channel: str, signed_body: partial[bytes]
    ) -> None:
        namespace = self._namespaces.of(channel)
        request = AuthorizationRequest(operation, credentials, signed_body, channel, namespace)
        error = await self._authorizer.authorize(request)
        if error is not None:
            raise RefusedError(error)

    def _require_namespace(self, channel: str) -> None:
        if self._namespaces.of(channel) is None:
            raise RefusedError(errors.UNDEFINED_NAMESPACE)


def _checked_batch(events: Any, too_many_events: WireError) -> list[tuple[str, int]]:
    """Return each event with its size in bytes.

    Raises:
        RefusedError: the batch as a whole breaks a rule.
    """
    if not isinstance(events, list) or not events:
        raise RefusedError(errors.INVALID_EVENTS)
    if len(events) > limits.EVENTS_PER_PUBLISH:
        raise RefusedError(too_many_events)
    if not all(isinstance(event, str) for event in events):
        raise RefusedError(errors.INVALID_EVENTS)
    sized = [(event, len(event.encode())) for event in events]
    if sum(size for _, size in sized) > limits.PAYLOAD_MAX_BYTES:
        raise RefusedError(errors.PAYLOAD_TOO_LARGE)
    try:
        for event in events:
            _require_json(event)
    except msgspec.MsgspecError:
        raise RefusedError(errors.INVALID_EVENTS) from None
    return sized
