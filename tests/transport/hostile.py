"""A WebSocket server that sends given bytes, valid or not."""

import base64
import hashlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Say = Callable[[bytes], bytes]
"""Returns the answer to a request to upgrade."""


def frame(first: int, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame with the given first byte; ``length`` replaces the true length in the frame's header."""
    size = len(body) if length is None else length
    if size < 126:
        return bytes([first, size]) + body
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + body
    return struct.pack("!BBQ", first, 127, size) + body


def yes(asked: bytes) -> bytes:
    """Return a valid answer to a request to upgrade."""
    lines = dict(line.split(b": ", 1) for line in asked.split(b"\r\n")[1:] if b": " in line)
    key = next(value for name, value in lines.items() if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + accept + b"\r\n\r\n"
    )


@contextmanager
def served(
    parts: Sequence[bytes] = (), answer: Say = yes, stay_s: float = 5, heard: list[bytes] | None = None
) -> Iterator[int]:
    """Serve one connection: send the answer and each part, then wait for ``stay_s``; yield the port.

    The client's data after its request is added to ``heard``, or not read if ``heard`` is None.
    """
    over = threading.Event()

    def converse() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(answer(peer.recv(65536)))
            time.sleep(0.02)
            try:
                for part in parts:
                    peer.sendall(part)
                    time.sleep(0.01)
                if heard is not None:
                    peer.settimeout(0.05)
                until = time.monotonic() + stay_s
                while time.monotonic() < until and not over.is_set():
                    if heard is None:
                        over.wait(0.05)
                        continue
                    try:
                        heard.append(peer.recv(65536))
                    except TimeoutError:
                        continue
                    if not heard[-1]:
                        return
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=converse, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join(10)
