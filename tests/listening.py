"""Servers that run in threads for tests: a plain listening socket, or HTTP. Closing one also ends its threads."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

#: How often an HTTP server checks whether to end, in seconds. With the default of 0.5 s, each test would wait that
#: long.
_POLL_S = 0.01


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Yield the two ends of a TCP connection on the loopback; only the first does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        peer = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with peer, ours:
        ours.setblocking(False)
        yield ours, peer


@contextmanager
def accepting(converse: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """Yield a listener on the loopback; ``converse`` handles each connection in a separate thread.

    `close` does not wake a thread that waits in `accept`. A thread that is just about to call `accept` would
    accept the next test's connection, if that test's socket has been given the same descriptor. So the thread
    is ended before the socket is closed.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=converse, args=(peer,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Serve HTTP on the loopback in a thread, one request at a time; yield the port."""
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
