"""The receive path for a protocol file's service: a function, made once per connection, processes each message.

The functions are closures, whose variables are faster to read than attributes of a method's object. Deliveries are
processed here, in the fastest way that the file allows. Every other message goes to ``other``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from loadgen.measure.arrival import end_of
from loadgen.protocol import unreadable
from loadgen.protocol.base import SessionHandler
from loadgen.protocol.boundary import Boundary
from loadgen.protocol.generic.description import Description
from loadgen.protocol.generic.opening import HOLD, OnMessage, Opening
from loadgen.protocol.generic.patterns import Found, Message
from loadgen.protocol.generic.requests import Routes
from loadgen.protocol.generic.stamped import Delivered, StampedLines

Unit = Any
"""A message in the form that patterns are compared with: the bytes of a text or of one line, or decoded JSON."""

UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_LINE_END: Final = b"\r\n"
#: Longest payload in bytes of one message in a stream of lines; an incomplete line may be 64 KiB longer.
MOST_BYTES: Final = 4 * 1024 * 1024


class Receiver(NamedTuple):
    """The parts of one connection's receive path."""

    description: Description
    handler: SessionHandler
    opening: Opening
    routes: Routes
    #: Processes every message until `opening` is complete, and later each message that is not a delivery. Arguments:
    #: the message as a `Unit`, the same message as bytes, its arrival (ns), and the time at which it was read (ns).
    other: Callable[[Unit, Message, int, int], None]
    #: Processes a delivery that a pattern has matched.
    deliver: Callable[[Found, int, int], None]
    #: Returns a message for display.
    shown: Callable[[Message], str]
    #: The fast decoder of JSON deliveries (see `patterns.quick`), or None if the protocol file's pattern allows none.
    quick: Any
    #: The pattern of a delivery in a stream of lines (see `rules.line_pattern`); None if messages are not lines.
    line: Any
    #: Reads deliveries whose stamps are in a header, or None if the protocol file does not describe such messages.
    stamped: StampedLines | None = None
    #: Called with True when a stream of lines is between two messages, else with False; None if no caller needs this.
    boundary: Boundary | None = None

    def receive(self) -> OnMessage:
        """Return the function that processes this connection's messages."""
        return {"text": _of_text, "json": _of_json, "lines": _of_lines}[self.description.messages](self)


def _of_text(of: Receiver) -> OnMessage:
    handler, opening, steps, other, shown = of.handler, of.opening, of.opening.steps, of.other, of.shown
    pattern = of.description.deliver.pattern
    if pattern.written != "{event}":

        def receive_some(message: Message, arrival_ns: int, read_ns: int) -> None:
            if steps and steps[0] is HOLD:
                opening.hold(bytes(message), arrival_ns, read_ns)
                return
            try:
                found = pattern.match(message) if not steps else None
            except UnicodeDecodeError:
                handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(shown, message))
                return
            if found is not None:
                of.deliver(found, arrival_ns, read_ns)
            else:
                other(message, message, arrival_ns, read_ns)

        return receive_some
    on_event, routes = handler.on_event, of.routes

    def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
        if steps:
            if steps[0] is HOLD:
                opening.hold(bytes(message), arrival_ns, read_ns)
            else:
                other(message, message, arrival_ns, read_ns)
            return
        try:
            event = message.decode()
        except UnicodeDecodeError:
            handler.on_undecodable(unreadable.MESSAGE_NOT_UTF8, partial(shown, message))
            return
        on_event(routes.only, event, arrival_ns, read_ns)

    return receive


def _of_json(of: Receiver) -> OnMessage:
    handler, opening, steps, routes = of.handler, of.opening, of.opening.steps, of.routes
    deliver, on_event, whole = of.description.deliver, handler.on_event, msgspec.json.decode
    raw, identity = "event_json" in deliver.at, deliver.identity
    by_number, by_channel = routes.by_number, routes.by_channel

    def other(message: Message, arrival_ns: int, read_ns: int) -> None:
        if steps and steps[0] is HOLD:
            opening.hold(bytes(message), arrival_ns, read_ns)
            return
        try:
            unit = whole(message)
        except UNREADABLE:
            utf8 = unreadable.is_utf8(message)
            kind = unreadable.NOT_JSON if utf8 else unreadable.MESSAGE_NOT_UTF8
            handler.on_undecodable(kind, partial(of.shown, message))
            return
        of.other(unit, message, arrival_ns, read_ns)

    if of.quick is None:
        return other
    decode, take = of.quick

    def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
        if steps:
            other(message, arrival_ns, read_ns)
            return
        try:
            key, event = take(decode(message))
            if raw:
                event = str(event, "utf-8")
        except UNREADABLE:
            other(message, arrival_ns, read_ns)
            return
        if identity == "id":
            on_event(key, event, arrival_ns, read_ns)
        elif identity == "channel":
            on_event(str(by_channel.get(key, key)), event, arrival_ns, read_ns)
        elif identity == "number":
            on_event(by_number.get(key, str(key)), event, arrival_ns, read_ns)
        else:
            on_event(routes.only, event, arrival_ns, read_ns)

    return receive


def _of_lines(of: Receiver) -> OnMessage:
    handler, opening, steps, other = of.handler, of.opening, of.opening.steps, of.other
    on_event, routes, shown = handler.on_event, of.routes, of.shown
    identity, by_number, by_channel = of.description.deliver.identity, routes.by_number, routes.by_channel
    match, sized = of.line
    stamped, boundary = of.stamped, of.boundary
    rest = b""

    def take_stamped(taken: Delivered, arrival_ns: int, read_ns: int) -> None:
        """Pass on a delivery that has headers, together with its stamp if this run carries stamps in a header."""
        key = taken.key
        if identity == "channel":
            key = by_channel.get(key, key)
        elif identity == "number":
            key = by_number.get(int(key), key)
        elif identity is None:
            key = routes.only
        if stamped is not None and stamped.name is not None:
            handler.on_marked(key, taken.event, arrival_ns, read_ns)
        else:
            on_event(key, taken.event.body.decode(), arrival_ns, read_ns)

    def receive(message: Message, arrival_ns: int, read_ns: int) -> None:
        nonlocal rest
        data = rest + message if rest else message
        place, end = 0, len(data)
        within_ns, end_ns = arrival_ns, end_of(arrival_ns)
        while place < end:
            if not steps:
                found = match(data, place)
            elif steps[0] is not HOLD:
                found = None
            else:
                opening.hold(bytes(data[place:]), arrival_ns, read_ns)
                place = end
                break
            if found is None and stamped is not None and not steps:
                begin = place
                try:
                    taken = stamped.take(data, begin)
                    # Set `place` to the delivery's end before passing the delivery on: if its event is not UTF-8, the
                    # whole delivery is then skipped. If `take` itself fails, only the first line is skipped.
                    place = taken.end if isinstance(taken, Delivered) else place
                    if isinstance(taken, Delivered):
                        take_stamped(taken, within_ns if place < end else end_ns, read_ns)
                        continue
                except UnicodeDecodeError:
                    place = place if place > begin else data.find(_LINE_END, begin) + 2
                    handler.on_undecodable(unreadable.DELIVERY_NOT_UTF8, partial(shown, data[begin:place]))
                    continue
                if taken is not None:
                    if taken.missing > MOST_BYTES:
                        handler.on_undecodable(
                            unreadable.DELIVERY_TOO_LONG, partial(shown, data[place : taken.begin])
                        )
                        place = taken.begin
                        continue
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
                            unreadable.DELIVERY_TOO_LONG, partial(shown, data[place:begin])
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
                handler.on_undecodable(unreadable.DELIVERY_NOT_UTF8, partial(shown, found[0] + event_bytes))
                continue
            at_ns = within_ns if place < end else end_ns
            if identity == "id":
                on_event(key, event, at_ns, read_ns)
            elif identity == "channel":
                on_event(by_channel.get(key, key), event, at_ns, read_ns)
            elif identity == "number":
                on_event(by_number.get(int(key), key), event, at_ns, read_ns)
            else:
                on_event(routes.only, event, at_ns, read_ns)
        rest = bytes(data[place:]) if place < end else b""
        if len(rest) > MOST_BYTES + 64 * 1024:
            handler.on_undecodable(unreadable.LINE_TOO_LONG, partial(shown, rest))
            rest = b""
        if boundary is not None:
            boundary.set(not rest)

    return receive
