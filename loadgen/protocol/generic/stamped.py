"""Messages that carry an event's stamp in a header outside the event, such as NATS's HPUB and HMSG.

Each message begins with a line that gives the size of its headers, and of headers and event together, in bytes. The
headers and the event follow that line (NATS: "NATS Protocol", HPUB and HMSG; ADR-4 for the form of headers).
"""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from loadgen.payloads.stamping import Marked
from loadgen.protocol.generic.description import Identity, StampedForm
from loadgen.protocol.generic.frames import TemplateError, pieces

#: Placeholders that a protocol file may use in its texts `head`, `send` and `deliver` (see
#: `protocol_file.model.Stamped`).
HEAD_NAMES: Final = ("name", "stamp")
SEND_NAMES: Final = ("id", "number", "channel", "head", "head_bytes", "bytes", "event")
DELIVER_NAMES: Final = ("id", "number", "channel", "head_bytes", "bytes", "*")
_REST: Final = "{head}{event}\r\n"
_PATTERNS: Final = {
    "id": rb"(?P<id>\S+)",
    "number": rb"(?P<number>[0-9]{1,9})",
    "channel": rb"(?P<channel>\S+)",
    "head_bytes": rb"(?P<head_bytes>[0-9]{1,9})",
    "bytes": rb"(?P<bytes>[0-9]{1,9})",
    "*": rb"[^\r\n]*",
}


class Delivered(NamedTuple):
    """A delivery found in the stream."""

    key: str
    """The value that names the subscription, or an empty text."""
    event: Marked
    """The event and its stamp; the stamp is empty if the message has none."""
    end: int
    """Offset of the next message."""


class Incomplete(NamedTuple):
    """The beginning of a delivery: its first line ends at ``begin``, and ``missing`` or more bytes are yet to come."""

    begin: int
    missing: int


def check_names(text: str, known: tuple[str, ...]) -> None:
    """Check that a text has known placeholders only; raises TemplateError if not."""
    for piece in pieces(text):
        if not isinstance(piece, str) and (piece[1] or piece[0] not in known):
            listed = ", ".join(f"{{{each}}}" for each in known)
            raise TemplateError(f"has the placeholder {{{piece[0]}}}, which is none here; known are {listed}")


def check_delivery(text: str) -> None:
    """Check the pattern of a delivery; raises TemplateError if it is not valid."""
    line, end, rest = text.partition("\r\n")
    if not end or rest != _REST:
        raise TemplateError("must be one line that ends in \\r\\n, and then {head}{event}\\r\\n")
    check_names(line, DELIVER_NAMES)
    names = [piece[0] for piece in pieces(line) if not isinstance(piece, str)]
    for name in ("head_bytes", "bytes"):
        if name not in names:
            raise TemplateError(f"must have {{{name}}} in its first line")
    for name in set(names) - {"*"}:
        if names.count(name) > 1:
            raise TemplateError(f"has {{{name}}} twice; write {{*}} for the other")


class StampedLines:
    """Writes and reads messages with headers.

    ``name`` is the name of the header that carries the stamp, or None to read events without stamps.
    """

    def __init__(self, form: StampedForm, identity: Identity | None, name: str | None = None) -> None:
        """Prepare to write and read messages of ``form``, which must have passed the checks of this module."""
        self.name = name
        self._head, self._send = form.head, list(pieces(form.send))
        line = form.deliver.partition("\r\n")[0]
        parts = [
            re.escape(piece.encode()) if isinstance(piece, str) else _PATTERNS[piece[0]]
            for piece in pieces(line)
        ]
        self._match: Callable[..., re.Match[bytes] | None] = re.compile(b"".join(parts) + rb"\r\n").match
        self._identity = identity

    def render(self, id_: str, number: int, channel: str, event: Marked) -> bytes:
        """Return the message that publishes an event."""
        assert self.name is not None
        head = self._head.replace("{name}", self.name).replace("{stamp}", event.stamp).encode()
        values = {
            "id": id_.encode(),
            "number": b"%d" % number,
            "channel": channel.encode(),
            "head": head,
            "head_bytes": b"%d" % len(head),
            "bytes": b"%d" % (len(head) + len(event.body)),
            "event": event.body,
        }
        return b"".join(
            piece.encode() if isinstance(piece, str) else values[piece[0]] for piece in self._send
        )

    def take(self, data: bytes | bytearray, place: int) -> Delivered | Incomplete | None:
        """Return the delivery that begins at an offset of the stream, or None if none begins there.

        Raises:
            UnicodeDecodeError: the name of its subscription is not UTF-8.
        """
        found = self._match(data, place)
        if found is None:
            return None
        begin = found.end()
        head_end, end = begin + int(found["head_bytes"]), begin + int(found["bytes"])
        if end + 2 > len(data):
            return Incomplete(begin, end + 2 - len(data))
        key = found[self._identity].decode() if self._identity is not None else ""
        stamp = _header(bytes(data[begin : min(head_end, end)]), self.name)
        return Delivered(key, Marked(bytes(data[head_end:end]), stamp), end + 2)


def _header(head: bytes, name: str | None) -> str:
    """Return the value of a header, or an empty text if there is none."""
    if name is None:
        return ""
    for line in head.split(b"\r\n")[1:]:
        key, colon, value = line.partition(b":")
        if colon and key == name.encode():
            return value.strip().decode("latin-1")
    return ""
