"""Test that a listener's thread has ended before the listener's descriptor can be reused."""

import socket
import threading

from tests.listening import accepting


def test_the_thread_has_ended_when_the_listener_is_closed() -> None:
    for number in range(20):
        with accepting(lambda peer, number=number: peer.sendall(b"%d" % number)) as listener:  # type: ignore[misc]
            (thread,) = (each for each in threading.enumerate() if each.name.endswith("(accept)"))
            with socket.create_connection(listener.getsockname()) as client:
                assert client.recv(10) == b"%d" % number
        assert not thread.is_alive()
        with socket.create_server(("127.0.0.1", 0)) as other, socket.create_connection(other.getsockname()):
            # If the closed listener's thread still ran, it would accept this connection in place of `other`.
            peer, _ = other.accept()
            peer.close()
