"""A server in a separate process, and a client that sends JSON frames."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from loadgen.protocol.appsync.auth import SUBPROTOCOL, ApiKey, encode_header_subprotocol
from loadgen.server.process import Announcement, ServerProcess
from tests.system.harness import STUCK_S


class Client:
    """A WebSocket client that sends its API key in a subprotocol, unless the arguments name other subprotocols."""

    def __init__(self, server: Announcement, stack: ExitStack, **connect_options: Any) -> None:
        self.server = server
        self.host = urlsplit(server.http_url).netloc
        self.authorization = {"x-api-key": server.api_key, "host": self.host}
        if "subprotocols" not in connect_options:
            header = encode_header_subprotocol(ApiKey(server.api_key).connect_headers(self.host))
            connect_options["subprotocols"] = [Subprotocol(SUBPROTOCOL), Subprotocol(header)]
        self.socket: ClientConnection = stack.enter_context(
            connect(server.ws_url, close_timeout=1, open_timeout=STUCK_S, **connect_options)
        )

    def send(self, message: Mapping[str, Any] | str) -> Self:
        self.socket.send(message if isinstance(message, str) else json.dumps(message))
        return self

    def next(self, timeout: float = STUCK_S) -> dict[str, Any]:
        """Return the next message of any kind."""
        message: dict[str, Any] = json.loads(self.socket.recv(timeout))
        return message

    def receive(self, timeout: float = STUCK_S) -> dict[str, Any]:
        """Return the next message that is not `ka`; the server sends the first `ka` right after `connection_ack`."""
        while (message := self.next(timeout)) == {"type": "ka"}:
            pass
        return message

    def ask(self, message: Mapping[str, Any] | str) -> dict[str, Any]:
        return self.send(message).receive()

    def receive_first(self) -> dict[str, Any]:
        """Log in and return the first answer; a refused connection may already be closed."""
        with suppress(ConnectionClosed):
            self.send({"type": "connection_init"})
        return self.receive()

    def subscribe(self, channel: str, operation_id: str = "s", **replaced: Any) -> dict[str, Any]:
        message = {"type": "subscribe", "id": operation_id, "channel": channel}
        return self.ask(message | {"authorization": self.authorization} | replaced)

    def publish(self, channel: str, events: Any, operation_id: str = "p", **replaced: Any) -> dict[str, Any]:
        message = {"type": "publish", "id": operation_id, "channel": channel, "events": events}
        return self.ask(message | {"authorization": self.authorization} | replaced)

    def is_silent(self) -> bool:
        """Return True if no message is on its way to the client: the next one is the answer to a new request."""
        return bool(self.ask({"type": "connection_init"})["type"] == "connection_ack")


@pytest.fixture(scope="session")
def server() -> Iterator[Announcement]:
    with ServerProcess(["--namespace", "default", "--namespace", "other"]) as process:
        yield process.announcement


@pytest.fixture
def client(server: Announcement) -> Iterator[Callable[..., Client]]:
    """Return a function that makes clients of the shared server, or of the server given as `of`."""
    with ExitStack() as stack:

        def make(of: Announcement | None = None, **options: Any) -> Client:
            return Client(of or server, stack, **options)

        yield make
