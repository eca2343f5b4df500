"""Connect and subscribe in Python, then become the receiver written in C (exec), which inherits the connections.

Usage: `receive_limit.py BINARY PORT SUBSCRIBERS SERVICE`.

SERVICE is `appsync`, `mqtt`, `nats` or `nats-ws`, the protocol that the sender speaks.
"""

import base64
import json
import os
import socket
import sys

binary, port, count, service = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
#: Descriptor of the first socket, above every descriptor that the interpreter itself has open.
FIRST = 100


TOPIC, SUBJECT = b"default/bench", b"default.bench"


def masked(body: bytes, opcode: int = 1) -> bytes:
    """Return a client's frame; RFC 6455 allows a mask of zeros."""
    return bytes([0x80 | opcode, 0x80 | len(body)]) + b"\0\0\0\0" + body


def read_until(connection: socket.socket, wanted: bytes) -> None:
    """Read from the connection up to the end of ``wanted``, byte by byte, so that nothing after it is consumed."""
    seen = b""
    while wanted not in seen:
        part = connection.recv(1)
        if not part:
            sys.exit("the sender hung up")
        seen += part


def upgrade(connection: socket.socket) -> None:
    """Upgrade the connection to WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /event/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    read_until(connection, b"\r\n\r\n")


def subscribe_appsync(connection: socket.socket, number: int) -> None:
    upgrade(connection)
    name = f"{number:036d}"
    message = {"type": "subscribe", "id": name, "channel": "/default/bench"}
    connection.sendall(masked(json.dumps(message).encode()))
    read_until(connection, b'"id": "' + name.encode() + b'"}')


def subscribe_mqtt(connection: socket.socket, number: int) -> None:
    """Send CONNECT of MQTT 5 with a clean start and without a client id, then SUBSCRIBE."""
    connection.sendall(b"\x10\x0d\0\4MQTT\5\2\0\0\0\0\0")
    read_until(connection, b"\x20\x03\0\0\0")
    body = b"\0\1\0" + len(TOPIC).to_bytes(2, "big") + TOPIC + b"\0"
    connection.sendall(bytes([0x82, len(body)]) + body)
    read_until(connection, b"\x90\x04\0\1\0\0")


def subscribe_nats(connection: socket.socket, number: int) -> None:
    read_until(connection, b"\r\n")
    connection.sendall(b'CONNECT {"verbose":true}\r\nSUB ' + SUBJECT + b" 1\r\n")
    read_until(connection, b"+OK\r\n+OK\r\n")


def subscribe_nats_ws(connection: socket.socket, number: int) -> None:
    upgrade(connection)
    read_until(connection, b"\r\n")
    for message in (b'CONNECT {"verbose":true}\r\n', b"SUB " + SUBJECT + b" 1\r\n"):
        connection.sendall(masked(message, 2))
        read_until(connection, b"+OK\r\n")


SUBSCRIBES = {
    "appsync": subscribe_appsync,
    "mqtt": subscribe_mqtt,
    "nats": subscribe_nats,
    "nats-ws": subscribe_nats_ws,
}
for number in range(count):
    connection = socket.create_connection(("127.0.0.1", port))
    SUBSCRIBES[service](connection, number)
    os.dup2(connection.fileno(), FIRST + number)
    connection.detach()
    os.set_inheritable(FIRST + number, True)
os.execv(binary, [binary, str(FIRST), str(FIRST + count - 1)])
