"""A relay that can fall silent, like a network that drops packets."""

import selectors
import socket
import threading
from types import TracebackType
from typing import Self


class QuietRelay:
    """Forwards bytes of any number of connections to a port of this machine; TLS is passed on unchanged.

    While :attr:`silent` is set, it forwards nothing in either direction and closes nothing; new connections
    get no answer.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.silent = threading.Event()
        #: Number of connections, including those made while the relay was silent.
        self.accepted = 0
        self._stopping = False
        self._peer: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._thread.join(5)
        for sock in (self._listener, *self._peer):
            sock.close()

    def _forward(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self._listener, selectors.EVENT_READ)
        while not self._stopping:
            for key, _ in selector.select(0.02):
                if self.silent.is_set():
                    # Leave data that has arrived unread in the sockets.
                    self.silent.wait(0.01)
                    if key.fileobj is self._listener:
                        # Accept the new connection but forward nothing, so that the client gets no answer.
                        self._connect(selector)
                    continue
                if key.fileobj is self._listener:
                    self._connect(selector)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peer:
                    self._pass_on(selector, key.fileobj)
            if self.silent.is_set():
                threading.Event().wait(0.01)

    def _connect(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        server = socket.create_connection(self._target)
        self._peer |= {client: server, server: client}
        for sock in (client, server):
            selector.register(sock, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        peer = self._peer[sock]
        try:
            data = sock.recv(65536)
            if data:
                peer.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (sock, peer):
                selector.unregister(end)
                del self._peer[end]
                end.close()
