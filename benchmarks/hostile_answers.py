"""Measure the memory and time that a hostile service's answer costs the client, and show the message printed for it.

    python benchmarks/hostile_answers.py                 # every case
    python benchmarks/hostile_answers.py chunks ping     # the cases whose names contain one of these words

Each case has two processes. The server process sends its hostile answer for as long as the client reads it. The client
process does one thing: a publish, the check before a run, the publish of `loadgen probe`, fetching a token, or reading
a connection. Memory is the rise of the client's peak resident size (`getrusage`) above its size before the first byte.
A client is ended after 25 s, and fails if it needs more than 5 GB of address space. The bar is 64 MB and 25 s; the
command exits with 1 if a case misses it.
"""

import argparse
import base64
import hashlib
import json
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

GIVEN_UP_S = 25
ADDRESS_SPACE_BYTES = 5 << 30
BAR_MB = 64
BLOCK = b"x" * 65536

# --- the server ---


def _forever(block: bytes, pause_s: float = 0) -> Iterator[bytes]:
    while True:
        yield block
        time.sleep(pause_s)


def _http(head: bytes, body: Iterator[bytes]) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n" + head
    yield from body


def _gzip_bomb() -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    for _ in range(3 << 10):
        if part := packer.compress(zeros):
            yield b"%x\r\n%b\r\n" % (len(part), part)
    rest = packer.flush()
    yield b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)


def frame(first: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    if size < 126:
        return bytes([first, size]) + body
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + body
    return struct.pack("!BBQ", first, 127, size) + body


CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
HTTP: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless chunks": lambda: _http(CHUNKED, _forever(b"10000\r\n" + BLOCK + b"\r\n")),
    "a declared length of 10 GB": lambda: _http(b"content-length: 10000000000\r\n\r\n", _forever(BLOCK)),
    "no length, no end": lambda: _http(b"\r\n", _forever(BLOCK)),
    "endless headers": lambda: _http(b"", _forever(b"x-%b: y\r\n" % (b"h" * 20) * 1000)),
    "one endless header": lambda: _http(b"x: ", _forever(BLOCK)),
    "endless 100 Continue": lambda: _forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "gzip that unpacks to 3 GB": lambda: _http(b"content-encoding: gzip\r\n" + CHUNKED, _gzip_bomb()),
    "a drip of a body": lambda: _http(CHUNKED, _forever(b"1\r\nx\r\n", 0.5)),
    "a drip of headers": lambda: _http(b"", _forever(b"x: y\r\n", 0.5)),
}
FRAMES: dict[str, Callable[[], Iterator[bytes]]] = {
    "pings, and reads nothing": lambda: _forever(frame(0x89, b"x" * 125) * 500),
    "a frame of 8 EB": lambda: iter([frame(0x81, b"", (1 << 63) - 1), *[BLOCK] * 100_000]),
    "a frame of 3 MB, never whole": lambda: iter([frame(0x81, BLOCK * 47, 4 << 20)]),
    "continuations without end": lambda: _after(frame(0x01, BLOCK), _forever(frame(0x00, BLOCK))),
    "a control frame of 8 EB": lambda: _after(frame(0x89, b"", (1 << 63) - 1), _forever(BLOCK)),
    "a close frame, then text without end": lambda: _after(
        frame(0x88, b"\x03\xe8"), _forever(frame(0x81, BLOCK))
    ),
    "a close frame, and the connection stays": lambda: _after(frame(0x88, b"\x03\xe8bye"), _forever(b"", 1)),
}
UPGRADES: dict[str, Callable[[], Iterator[bytes]]] = {
    "endless headers": lambda: _after(b"HTTP/1.1 101 X\r\n", _forever(b"x-%b: y\r\n" % (b"h" * 20) * 1000)),
    "one endless header": lambda: _after(b"HTTP/1.1 101 X\r\nx: ", _forever(BLOCK)),
    "a page without end": lambda: _http(b"\r\n", _forever(BLOCK)),
    "a page whose rest never comes": lambda: _http(b"content-length: 99\r\n\r\n<html>", _forever(b"", 1)),
    "a drip of headers": lambda: _after(b"HTTP/1.1 101 X\r\n", _forever(b"x: y\r\n", 0.5)),
    "no HTTP without end": lambda: _forever(BLOCK),
}
BYTES: dict[str, Callable[[], Iterator[bytes]]] = {
    "mqtt: a packet of 256 MB": lambda: _after(b"\x30\xff\xff\xff\x7f", _forever(BLOCK)),
    "mqtt: QoS 1, and reads nothing": lambda: _forever(bytes.fromhex("32 06 00 01 61 00 01 00") * 5000),
    "nats: a payload of 1 GB": lambda: _after(
        frame(0x82, b"MSG default.a s1 999999999\r\n"), _forever(frame(0x82, BLOCK))
    ),
    "nats: a line without end": lambda: _forever(frame(0x82, BLOCK)),
    "nats: PING, and reads nothing": lambda: _forever(frame(0x82, b"PING\r\n" * 10_000)),
}
CASES: dict[str, dict[str, Callable[[], Iterator[bytes]]]] = {
    "publish": HTTP,
    "check": HTTP,
    "probe": HTTP,
    "token": HTTP,
    "upgrade": UPGRADES,
    "websocket": FRAMES,
    "stream": BYTES,
    "unread": {"publishes to a server that reads nothing": lambda: _forever(b"", 1)},
}


def _after(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def serve(kind: str, name: str) -> None:
    """Print a free port and serve one kind of answer on it until standard input ends."""

    def converse(peer: socket.socket) -> None:
        try:
            if name.startswith("mqtt"):
                peer.recv(65536)
                peer.sendall(bytes.fromhex("20 03 00 00 00"))
            elif name.startswith("nats"):
                peer.sendall(_yes(peer.recv(65536)) + frame(0x82, b"INFO {}\r\n"))
                peer.recv(65536)
                peer.sendall(frame(0x82, b"+OK\r\n"))
                if "payload" in name:
                    peer.recv(65536)
                    peer.sendall(frame(0x82, b"+OK\r\n"))
            else:
                asked = peer.recv(65536)
                websocket = b"pgrade: websocket" in asked
                if websocket and kind != "upgrade":
                    peer.sendall(_yes(asked))
                if websocket and kind == "check":
                    peer.recv(65536)
                    peer.sendall(frame(0x81, b'{"type":"connection_ack","connectionTimeoutMs":300000}'))
                    peer.recv(65536)
                    return
            for block in CASES[kind][name]():
                peer.sendall(block)
        except OSError:
            return
        finally:
            peer.close()

    def accept() -> None:
        while True:
            peer, _ = listener.accept()
            threading.Thread(target=converse, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


def _yes(asked: bytes) -> bytes:
    key = asked.lower().split(b"sec-websocket-key:")[1].split(b"\r\n")[0]
    key = asked[asked.lower().index(key) :][: len(key)].strip()
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    said = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    protocol = (
        b"sec-websocket-protocol: aws-appsync-event-ws\r\n" if b"aws-appsync-event-ws" in asked else b""
    )
    return said + protocol + b"sec-websocket-accept: " + accept + b"\r\n\r\n"


# --- the client ---


def _publish(port: int) -> str:
    from loadgen.transport.http import GeventHttpClient

    status, body = GeventHttpClient(f"http://127.0.0.1:{port}/event", 1).post(b"{}", {})
    return f"status {status}, {len(body)} bytes"


def _check(port: int) -> str:
    from loadgen.run.target import Target
    from loadgen.run.target_check import check

    check(Target(f"http://127.0.0.1:{port}/event", api_key="da2-" + "x" * 26))
    return "nothing to object to"


def _probe(port: int) -> str:
    from loadgen.client.http import HttpPublisher
    from loadgen.protocol.appsync.auth import ApiKey
    from loadgen.protocol.appsync.client import AppSyncEvents
    from loadgen.protocol.appsync.endpoints import Endpoints

    service = AppSyncEvents(Endpoints.from_url(f"http://127.0.0.1:{port}/event"), ApiKey("da2-" + "x" * 26))
    with HttpPublisher(service) as publisher:
        answer, _ = publisher.post("/default/a", ["1"])
    return str(answer)


def _token(port: int) -> str:
    from loadgen.credentials.sources import from_client_credentials

    return str(from_client_credentials(f"http://127.0.0.1:{port}/token", "me", "hush", None))


def _opened(port: int) -> tuple[Any, list[Any]]:
    """Return an open WebSocket, and the list that gets (code, reason) when it has closed."""
    from loadgen.transport.address import Address
    from loadgen.transport.websocket import WebSocket

    closed: list[Any] = []
    socket_ = WebSocket(
        Address(f"ws://127.0.0.1:{port}/"),
        subprotocols=(),
        headers={},
        on_text=lambda *_: None,
        on_closed=lambda code, reason: closed.append((code, reason)),
    )
    socket_.open(10)
    return socket_, closed


def _websocket(port: int) -> str:
    import gevent

    # Keep a reference to the WebSocket, so that it is not collected.
    _held, closed = _opened(port)
    deadline = time.monotonic() + 12
    while not closed and time.monotonic() < deadline:
        gevent.sleep(0.05)
    return str(closed[0]) if closed else "still open after 12 s"


def _unread(port: int) -> str:
    import gevent

    socket_, closed = _opened(port)
    for _ in range(10_000):
        socket_.send(b"x" * 50_000)
        if closed:
            return str(closed[0])
        gevent.sleep(0)
    return "500 MB handed over"


def _stream(port: int, name: str) -> str:
    from loadgen.client.event_client import EventClient
    from loadgen.targets import protocol_of

    url = f"mqtt://127.0.0.1:{port}"
    if name.startswith("nats"):
        url = f"nats+ws://127.0.0.1:{port}"
    protocol = protocol_of(url)
    client = EventClient(protocol.service(protocol.endpoints(url), None), channels=["/default/a"])
    client.open()
    client.login()
    if name.startswith("nats: a payload"):
        client.subscribe("/default/a")
    client.ended.wait(12)
    return client.why or "still open after 12 s"


def act(kind: str, name: str, port: int) -> None:
    """Do the case's action, and print its outcome as JSON."""
    actions: dict[str, Callable[[int], str]] = {
        "publish": _publish,
        "check": _check,
        "probe": _probe,
        "token": _token,
        "upgrade": _websocket,
        "websocket": _websocket,
        "unread": _unread,
        "stream": lambda at: _stream(at, name),
    }
    import loadgen.client.http
    import loadgen.client.publish
    import loadgen.credentials.sources
    import loadgen.run.target_check
    import loadgen.targets
    import loadgen.transport.websocket  # noqa: F401  loaded first, so that it does not count as a cost of the answer

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun = time.monotonic()
    try:
        said = actions[kind](port)
    except (Exception, MemoryError) as error:
        said = f"{type(error).__name__}: {error}"
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "said": said.replace(f"127.0.0.1:{port}", "SERVER")[:300],
                "seconds": round(time.monotonic() - begun, 1),
                "mb": round((peak_kb - before_kb) / 1024, 1),
            }
        ),
        flush=True,
    )


def run(kind: str, name: str) -> dict[str, Any]:
    """Return the result of one case."""
    command = [sys.executable, __file__, "--kind", kind, "--name", name]
    server = subprocess.Popen([*command, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdout is not None
    port = server.stdout.readline().strip().decode()
    client = subprocess.Popen([*command, "--port", port], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        out, err = client.communicate(timeout=GIVEN_UP_S)
        lines = out.splitlines()
        found: dict[str, Any] = (
            json.loads(lines[-1]) if lines else {"said": err.decode()[-200:], "seconds": None, "mb": None}
        )
    except subprocess.TimeoutExpired:
        import psutil

        rss = psutil.Process(client.pid).memory_info().rss
        client.kill()
        client.communicate()
        found = {"said": f"not done after {GIVEN_UP_S} s", "seconds": None, "mb": f"{rss / 2**20:.0f} in all"}
    finally:
        server.kill()
        server.communicate()
    return found


def main() -> None:
    """Run the selected cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--kind")
    parser.add_argument("--name", default="")
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.serve:
        serve(options.kind, options.name)
        return
    if options.port is not None:
        act(options.kind, options.name, options.port)
        return
    missed = 0
    for kind, names in CASES.items():
        for name in names:
            if options.words and not any(word in f"{kind}: {name}" for word in options.words):
                continue
            found = run(kind, name)
            missed += not isinstance(found["mb"], float) or found["mb"] > BAR_MB
            print(f"{kind}: {name} | {found['mb']} MB | {found['seconds']} s | {found['said']}", flush=True)
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
