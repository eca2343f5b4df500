"""The client's WebSocket handshake (RFC 6455, section 4), fast enough for thousands of connections a second.

The `websockets` library composes the request once for all connections that differ only in their key. An answer of the
usual form that accepts the upgrade is parsed here. The library parses all other answers and finds all errors.
"""

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache

from websockets.client import ClientProtocol
from websockets.http11 import Request
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

_HEADERS_END = b"\r\n\r\n"
#: Longest answer that is parsed here; the `websockets` library parses longer ones.
_USUAL_BYTES = 4096
#: Valid header names and values (RFC 9110, section 5): a name is a token; tab is the only control character in a value.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
_TEXT = bytes([9, *range(32, 127), *range(128, 256)])
_SWITCHING = b"HTTP/1.1 101 "
_VERSION = b" HTTP/1.1\r\n"
#: Constants of Sec-WebSocket-Accept: the text that is appended to the key before hashing (RFC 6455, section 1.3), and
#: the length of the hash in base64.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACCEPT_BYTES = 28
#: Headers of the answer that decide whether it accepts the upgrade; each may occur only once.
_TELLING = frozenset(
    {
        b"upgrade",
        b"connection",
        b"sec-websocket-accept",
        b"sec-websocket-protocol",
        b"sec-websocket-extensions",
    }
)


class LastAccepted:
    """A server's last answer that accepted an upgrade.

    A server sends the same bytes to most connections. Only the value of `Sec-WebSocket-Accept` differs, because it
    depends on the connection's key. So the next answer is first compared with this one, which is faster than parsing.
    """

    __slots__ = ("_after", "_before", "_subprotocol")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._subprotocol: str | None = None

    def remember(self, answer: bytes, subprotocol: str | None, accept: bytes) -> None:
        """Remember an answer that was parsed, and the subprotocol that the answer names."""
        before, found, after = answer.partition(accept)
        # Keep the answer only if the value of Sec-WebSocket-Accept occurs once in it: otherwise the value's position is
        # ambiguous.
        if found and accept not in after:
            self._before, self._after, self._subprotocol = before, after, subprotocol

    def size(self, data: bytes, offered: tuple[str, ...], key: bytes) -> int | None:
        """Return the size of the answer at the start of ``data`` if it equals the last accepting answer, else None."""
        before, after = self._before, self._after
        begins = len(before)
        ends = begins + _ACCEPT_BYTES
        if (
            not after
            or not data.startswith(before)
            or not data.startswith(after, ends)
            or data[begins:ends] != _accept(key)
            or (self._subprotocol is not None and self._subprotocol not in offered)
        ):
            return None
        return ends + len(after)


def _accept(key: bytes) -> bytes:
    """Return the value that an accepting answer must have for a key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class Upgrade:
    """One connection's request to upgrade.

    ``resource`` is the path and query to request in place of the URL's. ``subprotocols``, ``headers`` and ``resource``
    may hold credentials. ``last`` is the accepting answer that an earlier connection to the same server received.
    """

    __slots__ = ("_asked", "_key", "_last", "request")

    def __init__(
        self,
        url: str,
        subprotocols: Sequence[str],
        headers: Mapping[str, str],
        resource: str | None = None,
        last: LastAccepted | None = None,
    ) -> None:
        self._last = last or LastAccepted()
        self._asked = (url, tuple(subprotocols), tuple(headers.items()))
        self._key = base64.b64encode(os.urandom(16))
        before, after = _composed(*self._asked)
        if resource is not None:
            before = b"GET " + resource.encode("ascii") + before[before.index(_VERSION) :]
        #: The bytes of the request.
        self.request = before + self._key + after

    def accepted(self, data: bytes) -> int:
        """Return the size of the answer at the start of ``data`` if it plainly accepts the upgrade, else 0."""
        if (known := self._last.size(data, self._asked[1], self._key)) is not None:
            return known
        end = data.find(_HEADERS_END)
        if not 0 <= end <= _USUAL_BYTES or not data.startswith(_SWITCHING):
            return 0
        said: dict[bytes, bytes] = {}
        status, *lines = data[:end].split(b"\r\n")
        if status.translate(None, _TEXT):
            return 0
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.lower()
            if not colon or not name or name.translate(None, _TOKEN) or value.translate(None, _TEXT):
                return 0
            if name in _TELLING:
                if name in said:
                    return 0
                said[name] = value.strip(b" \t")
        named = said.get(b"sec-websocket-protocol")
        subprotocol = None if named is None else named.decode("latin-1")
        usual = (
            said.get(b"upgrade", b"").lower() == b"websocket"
            and said.get(b"connection", b"").lower() == b"upgrade"
            and said.get(b"sec-websocket-accept") == _accept(self._key)
            and b"sec-websocket-extensions" not in said
            and (subprotocol is None or subprotocol in self._asked[1])
        )
        if not usual:
            return 0
        self._last.remember(data[: end + len(_HEADERS_END)], subprotocol, said[b"sec-websocket-accept"])
        return end + len(_HEADERS_END)

    def library(self, max_message_bytes: int | None) -> ClientProtocol:
        """Return a protocol object of `websockets` in the state after it has sent this request."""
        protocol, request = _protocol(*self._asked, max_message_bytes)
        protocol.key = self._key.decode()
        protocol.send_request(request)
        protocol.data_to_send()
        return protocol


@lru_cache(maxsize=1)
def _composed(
    url: str, subprotocols: tuple[str, ...], headers: tuple[tuple[str, str], ...]
) -> tuple[bytes, bytes]:
    protocol, request = _protocol(url, subprotocols, headers, None)
    before, after = request.serialize().split(protocol.key.encode())
    return before, after


def _protocol(
    url: str,
    subprotocols: tuple[str, ...],
    headers: tuple[tuple[str, str], ...],
    max_message_bytes: int | None,
) -> tuple[ClientProtocol, Request]:
    protocol = ClientProtocol(
        parse_uri(url),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=max_message_bytes,
    )
    request = protocol.connect()
    for name, value in headers:
        request.headers[name] = value
    return protocol, request
