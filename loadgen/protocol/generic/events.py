"""Server-sent events of a service that a protocol file describes; the data of each event is one message."""

from collections.abc import Callable
from typing import Final

from loadgen.measure.arrival import end_of
from loadgen.protocol import unreadable
from loadgen.protocol.base import SessionHandler
from loadgen.protocol.event_stream import EventStream
from loadgen.protocol.generic.description import EventNames
from loadgen.protocol.generic.opening import OnMessage
from loadgen.protocol.generic.patterns import Message

#: The name of an event that the stream gives no name (WHATWG HTML, 9.2.6).
DEFAULT_NAME: Final = b"message"


def of_events(
    stream: Callable[[], EventStream],
    names: EventNames,
    receive: OnMessage,
    handler: SessionHandler,
    shown: Callable[[Message], str],
    redacted: Callable[[str], str],
) -> OnMessage:
    """Return a function that parses bytes of an event stream and passes the data of each event to ``receive``.

    ``stream`` returns the connection's parser.
    """
    read = None if names.read is None else frozenset(name.encode() for name in names.read)
    errors = frozenset(name.encode() for name in names.errors)

    def receive_bytes(message: Message, arrival_ns: int, read_ns: int) -> None:
        parser, end = stream(), len(message)
        for event in parser.feed(bytes(message)):
            at_ns = end_of(arrival_ns) if event.end == end else arrival_ns
            if read is None and not errors:
                receive(event.data, at_ns, read_ns)
                continue
            name = event.name or DEFAULT_NAME
            if name in errors:
                text = event.data.decode(errors="replace")
                handler.on_service_error(redacted(text or "it gave no reason"))
            elif read is None or name in read:
                receive(event.data, at_ns, read_ns)
        if parser.error is not None:
            handler.on_undecodable(unreadable.EVENT_TOO_LONG, lambda: parser.error or "")
            handler.on_broken(parser.error)

    return receive_bytes
