"""The session of one connection to a service that a protocol file describes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from loadgen import native
from loadgen.payloads.stamping import NativePlace
from loadgen.protocol import unreadable
from loadgen.protocol.base import (
    PING,
    Handshake,
    PublishFrame,
    SessionHandler,
    UnfitLoginError,
)
from loadgen.protocol.boundary import Boundary
from loadgen.protocol.event_stream import EventStream
from loadgen.protocol.generic.dialect import Dialect
from loadgen.protocol.generic.events import of_events
from loadgen.protocol.generic.exchanges import Exchanges
from loadgen.protocol.generic.lanes import identity_in, names_in
from loadgen.protocol.generic.opening import OnMessage, Opening
from loadgen.protocol.generic.patterns import Found, Message, Pattern
from loadgen.protocol.generic.receiving import UNREADABLE, Receiver, Unit
from loadgen.protocol.generic.rules import Rule
from loadgen.protocol.resuming import Resumable

UNASKED = "an acknowledgement came that no request was waiting for"


class GenericSession(Resumable):
    """Implements `Session` for the service that a protocol file describes."""

    __slots__ = (
        "_boundary",
        "_description",
        "_dialect",
        "_exchanges",
        "_handler",
        "_opening",
        "_receive_message",
        "_stream",
        "receive",
        "timeout_ns",
    )

    receive: OnMessage
    """Processes a message of the service and calls the handler."""

    def __init__(self, dialect: Dialect, handler: SessionHandler) -> None:
        keepalive = dialect.description.keepalive
        self.timeout_ns = None if keepalive is None else keepalive.timeout_ns
        self._dialect = dialect
        self._description = dialect.description
        self._handler = handler
        self._opening = Opening(dialect.opening)
        self._exchanges = Exchanges(dialect, handler)
        self._boundary = Boundary()
        #: The parser of server-sent events, or None if the transport is another one.
        self._stream = EventStream() if dialect.description.transport == "sse" else None
        self._receive_message = Receiver(
            dialect.description,
            handler,
            self._opening,
            self._exchanges.routes,
            self._on_unit,
            self._deliver,
            dialect.shown,
            dialect.quick,
            dialect.line,
            dialect.stamped,
            self._boundary,
        ).receive()
        self.receive = self._receive_message
        if self._stream is not None:
            names = dialect.description.events
            self.receive = of_events(
                self._parser, names, self._receive_message, handler, dialect.shown, dialect.redacted
            )

    # The following methods serve to reconnect an event stream where it broke off.

    @property
    def retry_s(self) -> float | None:
        """The wait that the last `retry` field asks for (s), or None."""
        asked_ms = None if self._stream is None else self._stream.retry_ms
        return None if asked_ms is None else asked_ms / 1000

    def resume(self, earlier: Resumable) -> None:
        """Continue the event stream of an earlier session after the last event that it received."""
        if isinstance(earlier, GenericSession) and self._stream is not None and earlier._stream is not None:
            self._stream = EventStream(earlier._stream.last_id, earlier._stream.retry_ms)

    def continued(self, handshake: Handshake) -> Handshake:
        """Return the handshake with `Last-Event-ID` if an event with a usable id was received."""
        last_id = None if self._stream is None else self._stream.header_id
        if last_id is None:
            return handshake
        return replace(handshake, headers={**handshake.headers, "last-event-id": last_id})

    def _parser(self) -> EventStream:
        assert self._stream is not None
        return self._stream

    # The client that owns the connection calls the following methods.

    @property
    def early_delivery(self) -> str | None:
        """None: deliveries may arrive before the answer to the subscribe, as a protocol file cannot forbid it."""
        return None

    @property
    def most_unanswered(self) -> int:
        """0: any number of events may be unanswered, as a protocol file sets no limit."""
        return 0

    @property
    def keepalive_ns(self) -> int | None:
        """The protocol file's interval for sending :meth:`keepalive`, or None if it sets none."""
        keepalive = self._description.keepalive
        return None if keepalive is None else keepalive.every_ns

    def opening(self) -> Sequence[bytes]:
        """Return the messages to send, up to the first that the service must answer."""
        try:
            frames = self._opening.begin()
        except UnfitLoginError as unfit:
            self._handler.on_refused(str(unfit))
            return []
        if self._opening.greeted_ns is not None:
            self._handler.on_connected(self._opening.greeted_ns)
        return frames

    def awaits(self) -> str:
        """Return which step of the opening the client is at and what message it waits for, or an empty text if none."""
        expected = self._opening.expected
        return "" if expected is None else f"{self._place_of(expected)} expects {expected.written!a}"

    def keepalive(self) -> bytes:
        """Return the protocol file's keepalive message, or `PING` if it has none."""
        frame = self._dialect.keepalive_frame
        return PING if frame is None else frame.render()

    def closing(self) -> bytes:
        """Return no bytes: the WebSocket closing handshake is enough."""
        return b""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that subscribes, or no bytes if connecting to the URL already subscribes."""
        message = self._exchanges.subscribe(subscription_id, channel)
        if message is None:
            if self._description.several_by_url:
                self._opening.release_known(self._receive_message, self._is_subscribed)
            else:
                self._opening.release(self._receive_message)
            return b""
        return message

    def _is_subscribed(self, message: Message) -> bool:
        """Return False if the message is a delivery to a channel that is not subscribed to yet, else True."""
        try:
            unit = msgspec.json.decode(message) if self._description.messages == "json" else message
            found = self._description.deliver.pattern.match(unit)
        except UNREADABLE:
            return True
        return found is None or found.channel is None or found.channel in self._exchanges.routes.by_channel

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""
        return self._exchanges.unsubscribe(subscription_id)

    def publish(self, publish_id: str, channel: str, events: Sequence[Any]) -> bytes:
        """Return the message that publishes a batch."""
        return self._exchanges.publish(publish_id, channel, events)

    def use_lane(self, lane: native.PublishLane) -> Callable[[str], PublishFrame | None] | None:
        """Return None: `loadgen.native` publishes only to AppSync Events."""
        return None

    def fast_path(
        self, rows: native.Rows, numbers: Mapping[str, int], place: NativePlace
    ) -> native.FastPath | None:
        """Return C code that processes deliveries, or None if it cannot read the form of this service's deliveries.

        The result is also None during the opening, and for events with checksums.
        """
        template, routes = self._dialect.template, self._exchanges.routes
        if template is None or place.checked or self._opening.steps:
            return None
        identity = identity_in(self._description)
        only = numbers.get(routes.only) if identity is None else None
        if identity is None and only is None:
            return None
        first = native.BINARY_FRAMES if self._description.binary else native.TEXT_FRAMES
        lane = native.TemplateFastPath(rows, place.tokens, template, first, only)
        for name, number in names_in(identity, numbers, routes.by_channel, routes.by_number):
            lane.add(name, number)
        self._boundary.give(lane)
        return lane

    # The following methods process all messages that are not deliveries.

    def _on_unit(self, unit: Unit, message: Message, arrival_ns: int, read_ns: int) -> None:
        """Process a message, or a line of one, by the first rule that matches; ``message`` holds its bytes."""
        try:
            if self._on_opening(unit, message, arrival_ns):
                return
            unasked = False
            for rule in self._dialect.rules:
                found = rule.pattern.match(unit)
                if found is None:
                    continue
                if self._take(rule, found, arrival_ns, read_ns):
                    return
                # No request awaits this answer: a later rule may match the message, such as the rule
                # for errors that belong to no request.
                unasked = True
        except UnicodeDecodeError:
            self._handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, lambda: self._dialect.shown(message))
            return
        except UNREADABLE:
            # A value taken from a JSON message, such as the event, is encoded again. If it is nested too deeply, the
            # encoder fails.
            self._handler.on_undecodable(unreadable.UNKNOWN_FORM, lambda: self._dialect.shown(message))
            return
        if unasked:
            self._handler.on_deviation(UNASKED)
        else:
            self._handler.on_undecodable(unreadable.UNDESCRIBED, lambda: self._dialect.shown(message))

    def _on_opening(self, unit: Unit, message: Message, arrival_ns: int) -> bool:
        """Process a message that arrives during the opening.

        Return False if it is not part of the opening, and so has to be processed like any later message.
        """
        expected = self._opening.expected
        if expected is None:
            return False
        if expected.match(unit) is not None:
            try:
                frames, connected = self._opening.advance(arrival_ns)
            except UnfitLoginError as unfit:
                self._handler.on_refused(str(unfit))
                return True
            for frame in frames:
                self._handler.on_reply(frame)
            if connected:
                self._handler.on_connected(arrival_ns)
            return True
        description = self._description
        for error in description.errors:
            found = error.match(unit)
            if found is not None:
                self._handler.on_refused(self._dialect.redacted(found.reason or self._dialect.shown(message)))
                return True
        if any(reply.on.match(unit) is not None for reply in description.replies):
            return False
        if any(pattern.match(unit) is not None for pattern in description.ignore):
            return False
        sent = self._dialect.shown(message)
        self._handler.on_refused(
            f"{self._place_of(expected)} expects {expected.written!a}, and the service sent '{sent}'"
        )
        return True

    def _place_of(self, expected: Pattern) -> str:
        opening = self._description.opening
        number = next(number for number, step in enumerate(opening) if step.expect is expected)
        return f"opening.{number} of the protocol file"

    def _take(self, rule: Rule, found: Found, arrival_ns: int, read_ns: int) -> bool:
        """Handle a message that matches a rule; return False if it is an answer that no request awaits."""
        match rule.kind:
            case "accepted" | "refused":
                return self._exchanges.answered(rule, found, arrival_ns)
            case "reply" if rule.frame is not None:
                self._handler.on_reply(rule.frame.render())
            case "error":
                self._handler.on_service_error(self._dialect.redacted(found.reason or "it gave no reason"))
            case "deliver":
                self._deliver(found, arrival_ns, read_ns)
        return True

    def _deliver(self, found: Found, arrival_ns: int, read_ns: int) -> None:
        self._handler.on_event(
            self._exchanges.routes.subscription_of(found), found.event or "", arrival_ns, read_ns
        )
