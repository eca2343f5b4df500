"""Test the fan-out of a server in a separate process."""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed

from loadgen.server.process import ServerProcess

from .conftest import Client


def test_a_client_that_does_not_read_is_dropped_and_stalls_nobody(client: Callable[..., Client]) -> None:
    event = json.dumps("e" * 200_000)
    with ServerProcess(["--write-buffer-limit", "65536"]) as process:
        url = urlsplit(process.announcement.ws_url)
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((url.hostname, url.port))
        slow, healthy = client(process.announcement, sock=raw, max_queue=1), client(process.announcement)
        publisher = client(process.announcement)
        for one in (slow, healthy):
            one.subscribe("/default/a")
        for _ in range(10):
            assert publisher.publish("/default/a", [event] * 5)["type"] == "publish_success"
            assert [healthy.receive()["event"] for _ in range(5)] == [event] * 5
        with suppress(ConnectionClosed):
            for _ in range(51):
                slow.receive()
        assert slow.socket.close_code == 1006
        assert process.stderr_path is not None
        said = process.stderr_path.read_text()
    assert "does not read fast enough" in said
    assert said.count("\n") == 1
