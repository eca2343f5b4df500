"""Locust's own SocketIOUser: `locust -f receive_socketio.py`; one user per connection.

The handler of the user class computes latencies, as Locust's documentation advises. They go into a list, since a
`request` event for each would cost more than the delivery.
"""

import os
import time
from typing import Any

from locust import task
from locust.contrib.socketio import SocketIOUser
from locust_end import End

latencies: list[float] = []
end = End(latencies)


class Subscriber(SocketIOUser):
    """Receives until the sender disconnects."""

    options = {"reconnection": False}  # noqa: RUF012  # Locust's attribute

    @task
    def receive(self) -> None:
        """Subscribe and wait for the end."""
        self.sio.on("data", self._received)
        self.sio.connect(f"http://127.0.0.1:{os.environ['BENCH_PORT']}", transports=["websocket"])  # type: ignore[no-untyped-call]
        self.sio.emit("subscribe", {"channel": "/default/bench"})
        with end.one(self):
            self.sio.wait()

    def _received(self, event: dict[str, Any]) -> None:
        latencies.append(time.time() - event["_lg"][3] / 1e9)
