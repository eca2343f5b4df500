"""Answer publishes like an Event API, as cheaply as Python can, so that the publisher is the limit.

`python publish_server.py` prints its port and serves until standard input ends. It answers every `POST /event` as if
the request had five events and all were accepted. Over a WebSocket it accepts every publish too, and reads only the
publish's id, which must be in the first bytes of the frame.
"""

import asyncio
import base64
import hashlib
import re
import ssl
import sys
from typing import cast

import uvloop

HOST = "127.0.0.1"
#: The answer to `connection_init`.
ACK = b'{"type":"connection_ack","connectionTimeoutMs":300000}'
_BODY = (
    b'{"failed":[],"successful":['
    + b",".join(b'{"identifier":"00000000-0000-4000-8000-%012d","index":%d}' % (k, k) for k in range(5))
    + b"]}"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_SUCCESS = b'{"type":"publish_success",' + _BODY[1:-1] + b',"id":"'
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_PROTOCOL = re.compile(rb"sec-websocket-protocol: *([^,\r]+)", re.IGNORECASE)
_ID = re.compile(rb'"id":"([^"]+)"')
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SEEN_BYTES = 64


class Connection(asyncio.Protocol):
    """One connection: HTTP requests until a client asks for the upgrade, WebSocket frames from then on."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast instead of an isinstance check: uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._rest = b""
        self._upgraded = False

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        self._rest = data[self._frames(data) if self._upgraded else self._requests(data) :]

    def _requests(self, data: bytes) -> int:
        """Answer all complete requests; return the offset of their end."""
        place = 0
        while (headers_end := data.find(b"\r\n\r\n", place)) >= 0:
            if key := _KEY.search(data, place, headers_end):
                self._upgrade(key[1], data[place:headers_end])
                return headers_end + 4
            length = _LENGTH.search(data, place, headers_end)
            end = headers_end + 4 + (int(length[1]) if length else 0)
            if end > len(data):
                break
            self._transport.write(_ANSWER)
            place = end
        return place

    def _upgrade(self, key: bytes, headers: bytes) -> None:
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        protocol = _PROTOCOL.search(headers)
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + b"Sec-WebSocket-Accept: %b\r\n" % accept
            + (b"Sec-WebSocket-Protocol: %b\r\n" % protocol[1] if protocol else b"")
            + b"\r\n"
        )
        self._upgraded = True

    def _frames(self, data: bytes) -> int:
        """Answer all complete frames; return the offset at which the last of them ends."""
        place, size, answers = 0, len(data), []
        while place + 14 <= size:
            length, begin = data[place + 1] & 0x7F, place + 2
            if length >= 126:
                begin += 2 if length == 126 else 8
                length = int.from_bytes(data[place + 2 : begin], "big")
            end = begin + 4 + length
            if end > size:
                break
            if data[place] & 0x0F == 8:
                self._transport.close()
                return size
            answers.append(self.answer(data[begin : begin + 4], data[begin + 4 : end]))
            place = end
        self._transport.write(b"".join(answers))
        return place

    def answer(self, mask: bytes, payload: bytes) -> bytes:
        """Return the frame that answers one frame; here a success for its id, or `ACK` if it has none."""
        found = _ID.search(unmasked(mask, payload[:_SEEN_BYTES])) or _ID.search(unmasked(mask, payload))
        return framed(_SUCCESS + found[1] + b'"}' if found else ACK)


def framed(message: bytes) -> bytes:
    """Return the text frame of a message of less than 64 KB, as a server sends it."""
    size = len(message)
    return (b"\x81%c" % size if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")) + message


def unmasked(mask: bytes, payload: bytes) -> bytes:
    """Return the payload of a client's frame without its mask."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


async def serve(connection: type[Connection], tls: ssl.SSLContext | None = None) -> None:
    """Print the port and serve until the input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(connection, HOST, 0, ssl=tls, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(serve(Connection))
