"""Accept connects and subscribes like an Event API, as cheaply as Python can: `server.py [AUTHORITY]`.

It prints its port and serves until its input ends. With a path it serves TLS and writes its authority's certificate
there. It reads only whole frames of less than 64 KB, and of these only the type and the id.
"""

import asyncio
import base64
import hashlib
import re
import ssl
import sys
from typing import cast

import trustme
import uvloop
from websockets.utils import apply_mask

HOST = "127.0.0.1"
_KEY = re.compile(rb"sec-websocket-key: *(\S+)", re.IGNORECASE)
_PROTOCOL = re.compile(rb"sec-websocket-protocol: *([^,\r]+)", re.IGNORECASE)
_ID = re.compile(rb'"id": ?"([^"]+)"')
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ACK = b'{"type":"connection_ack","connectionTimeoutMs":300000}'


class Connection(asyncio.Protocol):
    """One connection: the upgrade, then frames."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._rest = b""
        self._upgraded = False

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._upgraded:
            head, end, data = data.partition(b"\r\n\r\n")
            key = _KEY.search(head)
            if not end or key is None:
                self._rest = head
                return
            self._upgrade(key[1], head)
        while len(data) >= 8:
            length, head_bytes = data[1] & 0x7F, 6
            if length == 126:
                length, head_bytes = int.from_bytes(data[2:4], "big"), 8
            end_at = head_bytes + length
            if len(data) < end_at:
                break
            self._answer(apply_mask(data[head_bytes:end_at], data[head_bytes - 4 : head_bytes]))
            data = data[end_at:]
        self._rest = data

    def _upgrade(self, key: bytes, head: bytes) -> None:
        self._upgraded = True
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        offered = _PROTOCOL.search(head)
        chosen = b"Sec-WebSocket-Protocol: %b\r\n" % offered[1] if offered else b""
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n%b\r\n" % (accept, chosen)
        )

    def _answer(self, message: bytes) -> None:
        if b"connection_init" in message:
            said = _ACK
        elif b'"subscribe"' in message and (found := _ID.search(message)):
            said = b'{"type":"subscribe_success","id":"%b"}' % found[1]
        else:
            return
        self._transport.write(bytes([0x81, len(said)]) + said)


async def main() -> None:
    """Serve until the input ends."""
    context = None
    if len(sys.argv) > 1:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(sys.argv[1])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(HOST).configure_cert(context)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, HOST, 0, ssl=context, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
