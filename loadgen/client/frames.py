"""The frames that a client sent and received, for display without secrets of the login (`loadgen probe --frames`).

A value is shown only if it is known to hold no secret: by the name of its header or JSON key, or because the command
itself made it. Of any other value only the length is shown. In received frames, values that were hidden when they were
sent are hidden too, since a service may echo them. Anything that looks like a key or token is also hidden there, since
a service may echo a login in another form.
"""

import base64
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

import msgspec

from loadgen.protocol import unreadable
from loadgen.protocol.base import Handshake, HttpRequest

#: Maximum number of frames that are kept, since a service may send without end.
MOST_FRAMES: Final = 100
#: A frame's text is cut to this many characters, and each of its values to `_VALUE_CHARACTERS`.
MOST_CHARACTERS: Final = 600
_VALUE_CHARACTERS: Final = 160
_MOST_MEMBERS: Final = 40
_MOST_DEPTH: Final = 6
#: Maximum number of bytes of a frame that are examined and shown.
_EXAMINED_BYTES: Final = 256 * 1024
#: Hidden values shorter than this are not searched for in received frames: `1` is in every frame.
_SEARCHED_CHARACTERS: Final = 4

#: Headers whose values hold no secret.
_PLAIN_HEADERS: Final = frozenset({"accept", "content-length", "content-type", "host", "user-agent"})
#: WebSocket subprotocols that are shown. Any other is hidden, because some services take a key as a subprotocol.
_PLAIN_SUBPROTOCOLS: Final = frozenset(
    {"aws-appsync-event-ws", "graphql-transport-ws", "graphql-ws", "mqtt", "nats", "v12.stomp", "wamp.2.json"}
)
#: JSON keys whose texts are shown; numbers and texts of any other key are hidden.
_PLAIN_MEMBERS: Final = frozenset((
    "type", "id", "channel", "channels", "topic", "subject", "event", "events", "action", "op", "method",
    "connectionTimeoutMs", "successful", "failed", "identifier", "index", "status", "code", "jsonrpc", "errors",
    "errorType", "errorCode", "message", "error", "reason", "success", "version",
))  # fmt: skip
#: Member names short and plain enough to be shown; any other name might be a secret itself.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_.-]{0,29}")
#: Matches text that may be a key, a token, or a part of one: a word of 12 characters or more, unless it is made of
#: plain words, as `connection_ack` and `BadRequestException` are.
_OPAQUE: Final = re.compile(
    r"(?<![\w+/=.~%-])(?!(?:(?:[A-Z][a-z]{2,})+|[a-z]+(?:[_-][a-z]+)*)[.,]?(?![\w+/=.~%-]))[\w+/=.~%-]{12,}",
    re.ASCII,
)
_MQTT_PACKETS: Final = (
    "reserved", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
    "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
)  # fmt: skip


#: The status of the answer that accepts a WebSocket.
UPGRADED: Final = "101 Switching Protocols"


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame, request or answer for display; ``step`` is the step of the probe that it belongs to."""

    step: str
    sent: bool
    size_bytes: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


class Frames:
    """Collects frames for display.

    ``shown`` is `Service.shown`, which removes the secrets that the service's protocol knows. ``plain`` are texts that
    the caller declares free of secrets, such as the channel.
    """

    def __init__(
        self, shown: Callable[[bytes | bytearray | memoryview], str], plain: Collection[str] = ()
    ) -> None:
        self._shown = shown
        self._plain = set(plain)
        self._hidden: set[str] = set()
        self._mqtt = False
        self._frames: list[Frame] = []
        #: Name of the current step of `loadgen probe`, stored with each new frame.
        self.step = ""
        #: Number of frames that were not kept.
        self.left_out = 0

    def take(self) -> list[Frame]:
        """Return the frames since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def vouch(self, text: str) -> None:
        """Mark a text as made by the caller, so that later frames show it."""
        self._plain.add(text)

    def upgrade(self, url: str, handshake: Handshake) -> None:
        """Add the request that opens a WebSocket or an event stream."""
        self._mqtt = "mqtt" in handshake.subprotocols
        offered = [
            each if each in _PLAIN_SUBPROTOCOLS else self._hide(each) for each in handshake.subprotocols
        ]
        lines = [f"GET {self._path(url, handshake.resource)}"]
        lines += [f"Sec-WebSocket-Protocol: {', '.join(offered)}"] if offered else []
        self._add(True, 0, lines + self._headers(handshake.headers))

    def accepted(self, answer: str) -> None:
        """Add the answer that accepts the connection."""
        self._add(False, 0, [answer])

    def request(self, url: str, request: HttpRequest) -> None:
        """Add an HTTP request."""
        lines = [f"{request.method} {self._path(url, request.resource)}", *self._headers(request.headers)]
        self._add(True, len(request.body), [*lines, self._message(request.body, sent=True)])

    def answer(self, status: int, body: bytes) -> None:
        """Add the answer to an HTTP request."""
        self._add(False, len(body), [f"HTTP {status}", self._message(body, sent=False)])

    def sent(self, message: bytes) -> None:
        """Add a message that was sent over the connection."""
        self._add(True, len(message), [self._message(message, sent=True)])

    def received(self, message: bytes | bytearray) -> None:
        """Add a message that was received over the connection."""
        self._add(False, len(message), [self._message(message, sent=False)])

    def closed(self, why: str) -> None:
        """Add the end of the connection."""
        self._add(False, 0, [self._foreign(why.encode(errors="replace"))])

    # The following methods add frames and hide the secrets in them.

    def _add(self, sent: bool, size_bytes: int, lines: Iterable[str]) -> None:
        if len(self._frames) >= MOST_FRAMES:
            self.left_out += 1
            return
        text = "\n".join(line for line in lines if line)
        if len(text) > MOST_CHARACTERS:
            text = text[:MOST_CHARACTERS] + " …"
        self._frames.append(Frame(self.step, sent, size_bytes, text))

    def _path(self, url: str, resource: str | None) -> str:
        """Return a request's path for display.

        The query is hidden, and so is a path that the login sets: both may hold keys.
        """
        parts = urlsplit(url)
        path, _, query = (resource or "").partition("?")
        if resource is None:
            path, query = parts.path or "/", parts.query
        elif path != parts.path:
            path = "/" + self._hide(path.removeprefix("/"))
        return path + (f"?{self._hide(query)}" if query else "")

    def _headers(self, headers: Mapping[str, str]) -> list[str]:
        return [
            f"{name}: {value if name.lower() in _PLAIN_HEADERS else self._hide(value)}"
            for name, value in headers.items()
        ]

    def _hide(self, value: str) -> str:
        """Return a placeholder for a value, and hide the value in everything received from now on."""
        # The service may echo the token of `Bearer TOKEN` or `key=TOKEN` alone, so hide each part.
        for part in (value, *re.split(r"[\s=&;,/]+", value)):
            written = part.encode(errors="replace")
            encoded = (base64.b64encode(written), base64.urlsafe_b64encode(written))
            self._hidden.update(
                (part, quote(part, safe=""), *(each.decode().rstrip("=") for each in encoded))
            )
        return _length(value)

    def _message(self, message: bytes | bytearray, *, sent: bool) -> str:
        if not message:
            return ""
        if self._mqtt:
            return f"{_MQTT_PACKETS[message[0] >> 4]} packet of {len(message):,} bytes"
        try:
            content = msgspec.json.decode(bytes(message)) if len(message) <= _EXAMINED_BYTES else None
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            content = None
        if isinstance(content, dict | list):
            return json.dumps(self._value(content, "", 0, sent=sent), ensure_ascii=False)
        if sent:
            # The first word is the command of a text protocol, such as CONNECT; what follows may be a login.
            command = re.match(rb"[A-Za-z+-]{1,15}\b", bytes(message[:16]))
            word = command[0].decode() if command else ""
            # The first word may be a secret that looks like a command, so show it only if `_shown` does not hide it.
            if not self._shown(message).startswith(word):
                word = ""
            return f"{word} … ({len(message):,} bytes)".lstrip()
        return self._foreign(message)

    def _value(self, value: Any, name: str, depth: int, *, sent: bool) -> Any:
        """Return a JSON value with all that may be a secret replaced."""
        if depth > _MOST_DEPTH:
            return "…"
        if isinstance(value, dict):
            return {
                self._name(key): self._value(
                    each, key if name in ("", "errors", "successful", "failed") else "?", depth + 1, sent=sent
                )
                for key, each in list(value.items())[:_MOST_MEMBERS]
            }
        if isinstance(value, list):
            return [self._value(each, name, depth + 1, sent=sent) for each in value[:_MOST_MEMBERS]]
        if isinstance(value, bool) or value is None:
            return value
        text = value if isinstance(value, str) else json.dumps(value)
        if name not in _PLAIN_MEMBERS:
            return self._hide(text) if sent else _length(text)
        if text in self._plain:
            return value
        if name in ("event", "events"):
            return _length(text)
        if sent and self._holds_secret(text):
            return self._hide(text)
        if sent or not isinstance(value, str):
            return value if len(text) <= _VALUE_CHARACTERS and not _OPAQUE.search(text) else self._hide(text)
        return self._foreign(text.encode(errors="replace"))

    def _holds_secret(self, text: str) -> bool:
        """Return True if the rules of the service's protocol hide a part of the text, such as a password."""
        written = text[:_VALUE_CHARACTERS].encode(errors="replace")
        return self._shown(written) != unreadable.shown(written)

    def _name(self, name: str) -> str:
        return name if _NAME.fullmatch(name) and name not in self._hidden else _length(name)

    def _foreign(self, text: bytes | bytearray) -> str:
        """Return a text of the service: escaped, cut, and without anything that may be part of the login."""
        known = bytes(text[:_EXAMINED_BYTES]).decode(errors="replace")
        for secret in sorted(self._hidden, key=len, reverse=True):
            if len(secret) >= _SEARCHED_CHARACTERS:
                known = re.sub(re.escape(secret), _length(secret), known, flags=re.IGNORECASE)
        known = _OPAQUE.sub(lambda found: found[0] if found[0] in self._plain else _length(found[0]), known)
        return self._shown(known.encode(errors="replace"))[:_VALUE_CHARACTERS]


def _length(value: str) -> str:
    return f"({len(value):,} characters)"
