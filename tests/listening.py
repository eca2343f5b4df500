"""A listening socket whose connections a thread accepts, until the thread ends and the socket is closed."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


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
