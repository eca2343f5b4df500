"""Test the maximum lifetime of a connection: 24 hours on AWS, shorter in these tests."""

import time
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedOK

from loadgen.server.process import ServerProcess
from tests.system.harness import STUCK_S
from tests.system.server.conftest import Client


def test_a_connection_ends_at_its_age_and_another_can_follow(client: Callable[..., Client]) -> None:
    with ServerProcess(["--lifetime", "2"]) as process:
        began = time.monotonic()
        old = client(process.announcement)
        assert old.subscribe("/default/a")["type"] == "subscribe_success"
        with pytest.raises(ConnectionClosedOK):
            old.receive(timeout=STUCK_S)
        assert time.monotonic() - began >= 2
        assert old.socket.close_code == 1000
        assert client(process.announcement).subscribe("/default/a")["type"] == "subscribe_success"
