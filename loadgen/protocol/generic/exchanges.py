"""A client's requests over one connection, and the answers to them, for a service that a protocol file describes."""

from collections.abc import Sequence
from typing import Any, Final

from loadgen.protocol.base import PublishAnswer, SessionHandler
from loadgen.protocol.generic.dialect import Dialect
from loadgen.protocol.generic.patterns import Found
from loadgen.protocol.generic.requests import Requests, Routes
from loadgen.protocol.generic.rules import Rule

_ACCEPTED: Final = PublishAnswer()


class Exchanges:
    """The subscribes, unsubscribes and publishes of one connection; ``handler`` is called with their answers."""

    __slots__ = ("_dialect", "_handler", "_requests", "routes")

    def __init__(self, dialect: Dialect, handler: SessionHandler) -> None:
        self._dialect, self._handler = dialect, handler
        self._requests = Requests()
        #: Finds the subscription that a delivery belongs to.
        self.routes = Routes()

    def subscribe(self, subscription_id: str, channel: str) -> bytes | None:
        """Return the message that subscribes, or None if connecting to the URL already subscribes."""
        dialect = self._dialect
        channel = dialect.wire(channel)
        self.routes.only = self.routes.by_channel[channel] = subscription_id
        exchange, frame = dialect.description.subscribe, dialect.subscribe_frame
        if exchange is None or frame is None:
            return None
        number = self._requests.add(exchange, "subscribe", subscription_id, channel)
        self.routes.by_number[number] = subscription_id
        return frame.render(subscription_id, number, channel)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""
        exchange, frame = self._dialect.description.unsubscribe, self._dialect.unsubscribe_frame
        assert exchange is not None
        assert frame is not None
        number, channel = self.routes.names_of(subscription_id)
        if exchange.accepted is not None:
            self._requests.add(exchange, "unsubscribe", subscription_id, channel, number)
        return frame.render(subscription_id, number, channel)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return the message that publishes a batch."""
        exchange, frame = self._dialect.description.publish, self._dialect.publish_frame
        assert exchange is not None
        assert frame is not None
        channel = self._dialect.wire(channel)
        number = self._requests.add(exchange, "publish", publish_id, channel)
        stamped = self._dialect.stamped
        if stamped is not None and stamped.name is not None:
            return b"".join([stamped.render(publish_id, number, channel, event) for event in events])
        return frame.render(publish_id, number, channel, events)

    def answered(self, rule: Rule, found: Found, arrival_ns: int) -> bool:
        """Report an answer to the handler; return False if no request awaits it."""
        request = self._requests.answered(rule, found)
        if request is None:
            return False
        reason = None
        if rule.kind == "refused":
            reason = self._dialect.redacted(found.reason or "refused, without a reason")
        if request.kind == "publish":
            answer = _ACCEPTED if reason is None else PublishAnswer(error=reason)
            self._handler.on_published(request.id, answer, arrival_ns)
        elif request.kind == "subscribe":
            if reason is None:
                self._handler.on_subscribed(request.id, arrival_ns)
            else:
                self._handler.on_subscribe_failed(request.id, reason)
        elif reason is not None:
            self._handler.on_service_error(f"an unsubscribe was refused: {reason}")
        return True
