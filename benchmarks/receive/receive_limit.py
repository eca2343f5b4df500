"""Connect and subscribe, then become the C reader: `receive_limit.py BINARY PORT SUBSCRIBERS`."""

import base64
import json
import os
import socket
import sys

binary, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
#: Above all descriptors that the interpreter has open.
FIRST = 100


def masked(message: dict[str, str]) -> bytes:
    """Return a client's text frame; RFC 6455 allows a mask of zeros."""
    body = json.dumps(message).encode()
    return bytes([0x81, 0x80 | len(body)]) + b"\0\0\0\0" + body


def read_until(connection: socket.socket, wanted: bytes) -> None:
    """Read byte by byte until ``wanted``, so that no byte of a delivery is consumed."""
    seen = b""
    while wanted not in seen:
        part = connection.recv(1)
        if not part:
            sys.exit("the sender hung up")
        seen += part


for number in range(count):
    connection = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /event/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    read_until(connection, b"\r\n\r\n")
    subscription = f"{number:036d}"
    connection.sendall(masked({"type": "subscribe", "id": subscription, "channel": "/default/bench"}))
    read_until(connection, b'"id": "' + subscription.encode() + b'"}')
    os.dup2(connection.fileno(), FIRST + number)
    connection.detach()
    os.set_inheritable(FIRST + number, True)
os.execv(binary, [binary, str(FIRST), str(FIRST + count - 1)])
