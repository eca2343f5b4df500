"""One connection's conversation with a service that a protocol file describes."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from loadgen import native
from loadgen.measure.arrival import end_of
from loadgen.protocol import unreadable
from loadgen.protocol.base import PING, PublishAnswer, SessionHandler
from loadgen.protocol.generic.description import Exchange, Identity
from loadgen.protocol.generic.frames import Frame
from loadgen.protocol.generic.patterns import Found, Message, Pattern
from loadgen.protocol.generic.rules import Rule

if TYPE_CHECKING:
    from loadgen.protocol.generic.service import GenericService

OnMessage = Callable[[bytes | bytearray, int, int], None]
_Unit = Any
"""A message as patterns take it: bytes of a text or of a line, or what JSON held."""

_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_LINE_END: Final = b"\r\n"
#: The longest line or payload that is waited for.
MOST_BYTES: Final = 4 * 1024 * 1024


class Step(NamedTuple):
    """A step of the opening, with what it needs from the environment filled in: one of the two is set."""

    frame: Frame | None
    pattern: Pattern | None


#: The last step where the URL asks for the subscription: until that has its id, what comes is kept.
HOLD: Final = Step(None, None)


UNASKED = "an acknowledgement came that no request was waiting for"
_ACCEPTED = PublishAnswer()


class GenericSession:
    """One connection's conversation."""

    __slots__ = (
        "_awaited",
        "_begun",
        "_by_channel",
        "_by_number",
        "_description",
        "_early",
        "_greeted_ns",
        "_handler",
        "_held",
        "_number",
        "_only",
        "_queues",
        "_rest",
        "_service",
        "_steps",
        "receive",
        "timeout_ns",
    )

    receive: OnMessage
    """Takes a message from the service and tells the handler."""

    def __init__(self, service: "GenericService", handler: SessionHandler) -> None:
        keepalive = service.description.keepalive
        self.timeout_ns = None if keepalive is None else keepalive.timeout_ns
        self._service = service
        self._description = service.description
        self._handler = handler
        self._number = 0
        #: Steps of the opening that are still to be done; one list all along, since `receive` looks at it.
        self._steps = list(service.opening)
        #: What is to be sent, and when the service had answered, where it spoke before its owner did.
        self._begun = False
        self._early: list[bytes] = []
        self._greeted_ns: int | None = None
        #: What came before the subscription that the URL has asked for had its id.
        self._held: list[tuple[bytes, int, int]] = []
        #: Requests whose answer is still to come: by what they are recognised by, their kind and id.
        self._awaited: dict[tuple[Identity, str | int], tuple[str, str]] = {}
        #: And those that are answered in order, by the pattern of the answer.
        self._queues: dict[str, deque[tuple[str, str]]] = {}
        self._by_number: dict[int, str] = {}
        self._by_channel: dict[str, str] = {}
        self._only = ""
        self._rest = b""
        self.receive = {
            "text": self._make_receive_text,
            "json": self._make_receive_json,
            "lines": self._make_receive_lines,
        }[self._description.messages]()

    # What the connection's owner does.

    @property
    def early_delivery(self) -> str | None:
        """None: a file does not say."""
        return None

    @property
    def most_unanswered(self) -> int:
        """Any number: a file knows no bound."""
        return 0

    @property
    def keepalive_ns(self) -> int | None:
        """How often the file wants :meth:`keepalive` to be sent."""
        keepalive = self._description.keepalive
        return None if keepalive is None else keepalive.every_ns

    def opening(self) -> Sequence[bytes]:
        """Return the messages up to the first that the service must answer."""
        self._begun = True
        frames = [*self._early, *self._next_frames()]
        if self._greeted_ns is not None:
            self._handler.on_connected(self._greeted_ns)
        return frames

    def awaits(self) -> str:
        """Return which step of the opening is yet to come."""
        if not self._steps or (expected := self._steps[0].pattern) is None:
            return ""
        return f"{self._place_of(expected)} expects {expected.written!a}"

    def keepalive(self) -> bytes:
        """Return the message that says that we are there; `PING` where the file has none."""
        frame = self._service.keepalive_frame
        return PING if frame is None else frame.render()

    def closing(self) -> bytes:
        """Return nothing: WebSocket's own closing handshake says it all."""
        return b""

    def subscribe(self, subscription_id: str, channel: str) -> bytes:
        """Return the message that asks for a subscription; nothing: the connection's URL did."""
        self._only = subscription_id
        channel = self._service.wire(channel)
        self._by_channel[channel] = subscription_id
        exchange, frame = self._description.subscribe, self._service.subscribe_frame
        if exchange is None or frame is None:
            self._steps.clear()
            held, self._held = self._held, []
            for message in held:
                self.receive(*message)
            return b""
        number = self._await(exchange, "subscribe", subscription_id, channel)
        self._by_number[number] = subscription_id
        return frame.render(subscription_id, number, channel)

    def unsubscribe(self, subscription_id: str) -> bytes:
        """Return the message that ends a subscription."""
        exchange, frame = self._description.unsubscribe, self._service.unsubscribe_frame
        assert exchange is not None
        assert frame is not None
        number = next((each for each, known in self._by_number.items() if known == subscription_id), 0)
        channel = next((each for each, known in self._by_channel.items() if known == subscription_id), "")
        if exchange.accepted is not None:
            self._await(exchange, "unsubscribe", subscription_id, channel, number)
        return frame.render(subscription_id, number, channel)

    def publish(self, publish_id: str, channel: str, events: Sequence[str]) -> bytes:
        """Return the message that publishes a batch."""
        exchange, frame = self._description.publish, self._service.publish_frame
        assert exchange is not None
        assert frame is not None
        channel = self._service.wire(channel)
        number = self._await(exchange, "publish", publish_id, channel)
        return frame.render(publish_id, number, channel, events)

    def lane(self, rows: native.Rows, numbers: Mapping[str, int]) -> native.Lane | None:
        """Return None: a protocol that is known only at run time has no lane in C."""
        return None

    # The receive path: closures find what they need in fewer steps than methods.

    def _make_receive_text(self) -> OnMessage:
        handler, steps, other = self._handler, self._steps, self._on_unit
        pattern = self._description.deliver.pattern
        if pattern.written != "{event}":

            def receive_some(message: Message, arrival_ns: int, read_ns: int) -> None:
                if steps and steps[0] is HOLD:
                    self._held.append((bytes(message), arrival_ns, read_ns))
                    return
                try:
                    found = pattern.match(message) if not steps else None
                except UnicodeDecodeError:
                    handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(self._shown, message))
                    return
                if found is not None:
                    self._deliver(found, arrival_ns, read_ns)
                else:
                    other(message, message, arrival_ns, read_ns)

            return receive_some
        on_event = handler.on_event

        def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
            if steps:
                if steps[0] is HOLD:
                    self._held.append((bytes(message), arrival_ns, read_ns))
                else:
                    other(message, message, arrival_ns, read_ns)
                return
            try:
                event = message.decode()
            except UnicodeDecodeError:
                handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(self._shown, message))
                return
            on_event(self._only, event, arrival_ns, read_ns)

        return receive

    def _make_receive_json(self) -> OnMessage:
        deliver, on_event, steps = self._description.deliver, self._handler.on_event, self._steps
        quick = self._service.quick
        whole, handler, identity = msgspec.json.decode, self._handler, deliver.identity
        raw = "event_json" in deliver.at
        by_number, by_channel = self._by_number, self._by_channel

        def other(message: Message, arrival_ns: int, read_ns: int) -> None:
            if steps and steps[0] is HOLD:
                self._held.append((bytes(message), arrival_ns, read_ns))
                return
            try:
                unit = whole(message)
            except _UNREADABLE:
                utf8 = unreadable.is_utf8(message)
                kind = unreadable.NOT_JSON if utf8 else unreadable.MESSAGE_NOT_UTF8
                handler.on_undecodable(kind, partial(self._shown, message))
                return
            self._on_unit(unit, message, arrival_ns, read_ns)

        if quick is None:
            return other
        decode, take = quick

        def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
            if steps:
                other(message, arrival_ns, read_ns)
                return
            try:
                key, event = take(decode(message))
                if raw:
                    event = str(event, "utf-8")
            except _UNREADABLE:
                other(message, arrival_ns, read_ns)
                return
            if identity == "id":
                on_event(key, event, arrival_ns, read_ns)
            elif identity == "channel":
                on_event(str(by_channel.get(key, key)), event, arrival_ns, read_ns)
            elif identity == "number":
                on_event(by_number.get(key, str(key)), event, arrival_ns, read_ns)
            else:
                on_event(self._only, event, arrival_ns, read_ns)

        return receive

    def _make_receive_lines(self) -> OnMessage:
        handler, on_event, other, steps = self._handler, self._handler.on_event, self._on_unit, self._steps
        identity, by_number, by_channel = (
            self._description.deliver.identity,
            self._by_number,
            self._by_channel,
        )
        assert self._service.line is not None
        match, sized = self._service.line

        def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
            data = self._rest + message if self._rest else message
            place, end = 0, len(data)
            within_ns, end_ns = arrival_ns, end_of(arrival_ns)
            while place < end:
                if not steps:
                    found = match(data, place)
                elif steps[0] is not HOLD:
                    found = None
                else:
                    self._held.append((bytes(data[place:]), arrival_ns, read_ns))
                    place = end
                    break
                if found is None:
                    stop = data.find(_LINE_END, place)
                    if stop < 0:
                        break
                    line, place = data[place:stop], stop + 2
                    other(line, line, within_ns if place < end else end_ns, read_ns)
                    continue
                if sized:
                    begin = found.end()
                    stop = begin + int(found["bytes"])
                    if stop + 2 > end:
                        if stop - begin > MOST_BYTES:
                            handler.on_undecodable(
                                unreadable.DELIVERY_TOO_LONG, partial(self._shown, data[place:begin])
                            )
                            place = begin
                            continue
                        break
                    event_bytes, place = data[begin:stop], stop + 2
                else:
                    event_bytes, place = found["event"], found.end()
                try:
                    event = event_bytes.decode()
                    key = found[identity].decode() if identity is not None else ""
                except UnicodeDecodeError:
                    handler.on_undecodable(
                        unreadable.DELIVERY_NOT_UTF8, partial(self._shown, found[0] + event_bytes)
                    )
                    continue
                at_ns = within_ns if place < end else end_ns
                if identity == "id":
                    on_event(key, event, at_ns, read_ns)
                elif identity == "channel":
                    on_event(by_channel.get(key, key), event, at_ns, read_ns)
                elif identity == "number":
                    on_event(by_number.get(int(key), key), event, at_ns, read_ns)
                else:
                    on_event(self._only, event, at_ns, read_ns)
            rest = bytes(data[place:]) if place < end else b""
            if len(rest) > MOST_BYTES + 64 * 1024:
                handler.on_undecodable(unreadable.LINE_TOO_LONG, partial(self._shown, rest))
                rest = b""
            self._rest = rest

        return receive

    # Everything but deliveries.

    def _on_unit(self, unit: _Unit, message: Message, arrival_ns: int, read_ns: int) -> None:
        """Take a message, or a line of one, by the first pattern that fits; ``message`` is its bytes."""
        try:
            if self._steps and self._steps[0] is not HOLD and self._on_opening(unit, message, arrival_ns):
                return
            unasked = False
            for rule in self._service.rules:
                found = rule.pattern.match(unit)
                if found is None:
                    continue
                if self._take(rule, found, arrival_ns, read_ns):
                    return
                # An answer that nobody waits for may be another's, or an error that belongs to no request.
                unasked = True
        except UnicodeDecodeError:
            self._handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(self._shown, message))
            return
        except _UNREADABLE:
            # What a pattern takes out of JSON is written as JSON again, which may be nested too deep for that.
            self._handler.on_undecodable(unreadable.UNKNOWN_FORM, partial(self._shown, message))
            return
        if unasked:
            self._handler.on_deviation(UNASKED)
        else:
            self._handler.on_undecodable(unreadable.UNDESCRIBED, partial(self._shown, message))

    def _on_opening(self, unit: _Unit, message: Message, arrival_ns: int) -> bool:
        """Take a message of the opening; false: it is one that may come at any time."""
        expected = self._steps[0].pattern
        assert expected is not None
        if expected.match(unit) is not None:
            del self._steps[0]
            frames = self._next_frames()
            done = not self._steps or self._steps[0] is HOLD
            if not self._begun:
                self._early += frames
                self._greeted_ns = arrival_ns if done else None
                return True
            for frame in frames:
                self._handler.on_reply(frame)
            if done:
                self._handler.on_connected(arrival_ns)
            return True
        description = self._description
        for error in description.errors:
            found = error.match(unit)
            if found is not None:
                self._handler.on_refused(self._service.redacted(found.reason or self._shown(message)))
                return True
        if any(reply.on.match(unit) is not None for reply in description.replies):
            return False
        if any(pattern.match(unit) is not None for pattern in description.ignore):
            return False
        self._handler.on_refused(
            f"{self._place_of(expected)} expects {expected.written!a}, and the service sent '{self._shown(message)}'"
        )
        return True

    def _place_of(self, expected: Pattern) -> str:
        opening = self._description.opening
        number = next(number for number, step in enumerate(opening) if step.expect is expected)
        return f"opening.{number} of the protocol file"

    def _next_frames(self) -> list[bytes]:
        frames = []
        while self._steps and (frame := self._steps[0].frame) is not None:
            del self._steps[0]
            frames.append(frame.render())
        return frames

    def _take(self, rule: Rule, found: Found, arrival_ns: int, read_ns: int) -> bool:
        """Do what is to be done about a message that fits; false: it answers what nobody has asked."""
        match rule.kind:
            case "accepted" | "refused":
                return self._settle(rule, found, arrival_ns)
            case "reply" if rule.frame is not None:
                self._handler.on_reply(rule.frame.render())
            case "error":
                self._handler.on_service_error(self._service.redacted(found.reason or "it gave no reason"))
            case "deliver":
                self._deliver(found, arrival_ns, read_ns)
        return True

    def _settle(self, rule: Rule, found: Found, arrival_ns: int) -> bool:
        """Tell who has asked, by what the answer names or by its turn; false: nobody has."""
        request: tuple[str, str] | None
        if rule.identity is None:
            waiting = self._queues.get(rule.queue)
            request = waiting.popleft() if waiting else None
        else:
            request = self._awaited.pop((rule.identity, getattr(found, rule.identity)), None)
        if request is None:
            return False
        kind, id_ = request
        reason = None
        if rule.kind == "refused":
            reason = self._service.redacted(found.reason or "refused, without a reason")
        if kind == "publish":
            answer = _ACCEPTED if reason is None else PublishAnswer(error=reason)
            self._handler.on_published(id_, answer, arrival_ns)
        elif kind == "subscribe":
            if reason is None:
                self._handler.on_subscribed(id_, arrival_ns)
            else:
                self._handler.on_subscribe_failed(id_, reason)
        elif reason is not None:
            self._handler.on_service_error(f"an unsubscribe was refused: {reason}")
        return True

    def _deliver(self, found: Found, arrival_ns: int, read_ns: int) -> None:
        if found.id is not None:
            subscription = found.id
        elif found.channel is not None:
            subscription = self._by_channel.get(found.channel, found.channel)
        elif found.number is not None:
            subscription = self._by_number.get(found.number, str(found.number))
        else:
            subscription = self._only
        self._handler.on_event(subscription, found.event or "", arrival_ns, read_ns)

    def _await(self, exchange: Exchange, kind: str, id_: str, channel: str, number: int | None = None) -> int:
        """Number a request, and remember it until it is answered; return its number."""
        if number is None:
            self._number = number = self._number + 1
        if exchange.accepted is None:
            return number
        if exchange.identity is None:
            self._queues.setdefault(exchange.accepted.written, deque()).append((kind, id_))
        else:
            keys: dict[Identity, str | int] = {"id": id_, "number": number, "channel": channel}
            key = keys[exchange.identity]
            self._awaited[exchange.identity, key] = (kind, id_)
        return number

    def _shown(self, message: Message) -> str:
        return self._service.shown(message)
