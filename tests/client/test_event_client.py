"""Test the blocking client: its timeouts after the process was blocked by other work."""

import time

import gevent
import pytest
from gevent.event import AsyncResult

from loadgen.client.event_client import EventClient, NoAnswerError
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints


def test_a_timeout_counts_from_the_wait_and_not_from_before_something_that_blocked() -> None:
    client = EventClient(AppSyncEvents(Endpoints.from_url("http://127.0.0.1:1/event"), ApiKey("k")))
    gevent.sleep(0)
    time.sleep(0.5)  # Block the event loop, as a slow HTTP request or resolver would.
    began = time.monotonic()
    with pytest.raises(NoAnswerError, match=r"no answer to the thing within 0\.2 s"):
        client._wait(AsyncResult(), 0.2, "the thing")
    assert time.monotonic() - began > 0.15
