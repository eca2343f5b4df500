"""Kinds of unreadable messages of a service, and the display of an example."""

from collections.abc import Iterable
from typing import Final

MOST_EXAMPLE_BYTES: Final = 120
MOST_REASON_CHARACTERS: Final = 500
#: Shown in place of a secret.
HIDDEN: Final = "(secret)"
#: Bytes of a message that are searched for secrets.
SEARCHED_BYTES: Final = 64 * 1024

NOT_JSON: Final = "message that is not JSON"
UNKNOWN_FORM: Final = "JSON that is no message of the protocol"
UNKNOWN_TYPE: Final = "message of an unknown type"
NO_ID: Final = "data message without an id"
NO_EVENT: Final = "data message without an event"
MESSAGE_NOT_UTF8: Final = "message that is not UTF-8"
UNDESCRIBED: Final = "message that the protocol file does not describe"
DELIVERY_NOT_UTF8: Final = "delivery that is not UTF-8"
DELIVERY_TOO_LONG: Final = "delivery longer than 4 MiB"
LINE_TOO_LONG: Final = "line longer than 4 MiB"
TOPIC_NOT_UTF8: Final = "MQTT topic that is not UTF-8"
PAYLOAD_NOT_UTF8: Final = "MQTT payload that is not UTF-8"
PACKET_UNREADABLE: Final = "MQTT packet that the codec cannot read"
NO_PACKET: Final = "bytes that are no MQTT 5 packet"
ANSWER_NOT_UTF8: Final = "HTTP answer that is not UTF-8"
ANSWER_UNREADABLE: Final = "HTTP answer that cannot be read"
EVENT_TOO_LONG: Final = "event stream with a line or event longer than 4 MiB"
BODY_UNREADABLE: Final = "HTTP body that cannot be read"
FRAME_UNREADABLE: Final = "WebSocket frame that cannot be read"


def shown(message: bytes | bytearray | memoryview, secrets: Iterable[tuple[str, str]] = ()) -> str:
    """Return a message for display, cut to 120 bytes: printable ASCII, with other bytes escaped as in `\\xff`.

    ``secrets`` are pairs of a secret text and its replacement.
    """
    known = bytes(message[:SEARCHED_BYTES])
    for secret, instead in secrets:
        if secret:
            known = known.replace(secret.encode(), instead.encode())
    text = repr(known[:MOST_EXAMPLE_BYTES])[2:-1]
    return text + "..." if len(known) > MOST_EXAMPLE_BYTES else text


def cut(text: str) -> str:
    """Cut a service's reason to 500 characters, since the record repeats it for each event concerned."""
    return text if len(text) <= MOST_REASON_CHARACTERS else text[:MOST_REASON_CHARACTERS] + "..."


def is_utf8(message: bytes | bytearray | memoryview) -> bool:
    """Return True if the bytes are UTF-8."""
    try:
        str(message, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
