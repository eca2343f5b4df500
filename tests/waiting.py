"""Wait in gevent until something has happened in this process."""

import time
from collections.abc import Callable

import gevent


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Wait until the condition holds; raise AssertionError if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        gevent.sleep(0.005)
