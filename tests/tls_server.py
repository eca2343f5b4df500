"""The server's side of TLS over memory buffers, for tests of clients."""

import contextlib
import socket
import ssl

from loadgen.transport.native_tls import NativeTls
from loadgen.transport.tls import Tls


class Server:
    """Encrypts data as records, and closes TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def record(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self.outgoing.read()

    def close(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing.read()


class SocketServer(Server):
    """A server with a socket, which reads what the client sends in this thread or another one."""

    def __init__(self, context: ssl.SSLContext, peer: socket.socket) -> None:
        super().__init__(context)
        self.socket = peer

    def read(self) -> bytes:
        while True:
            try:
                return self.tls.read(1 << 16)
            except ssl.SSLWantReadError:
                data = self.socket.recv(1 << 16)
                if not data:
                    return b""
                self.incoming.write(data)


def shake_hands(client: Tls | NativeTls, server: Server) -> None:
    """Complete the handshake; the client also gets what the server sends after it, such as tickets."""
    client.handshake()
    for _ in range(5):
        server.incoming.write(client.to_send())
        with contextlib.suppress(ssl.SSLWantReadError):
            server.tls.do_handshake()
        if said := server.outgoing.read():
            client.handshake(said)
    assert client.ready
