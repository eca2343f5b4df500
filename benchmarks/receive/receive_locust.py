"""Locust with websocket-client as it is usually used: `locust -f receive_locust.py`; one user per connection.

JSON is decoded twice per delivery: the message, and the event that it contains as a JSON string. Latencies go into a
list, since a `request` event for each would cost more than the delivery.
"""

import json
import os
import sys
import time

import websocket
from locust import User, events, task

latencies: list[float] = []
open_ones = 0


class Subscriber(User):
    """Receives until the sender disconnects."""

    @task
    def receive(self) -> None:
        """Subscribe and receive."""
        global open_ones
        connection = websocket.create_connection(f"ws://127.0.0.1:{os.environ['BENCH_PORT']}/event/realtime")
        connection.send(json.dumps({"type": "connection_init"}))
        connection.recv()
        number = f"{id(connection):036d}"
        connection.send(json.dumps({"type": "subscribe", "id": number, "channel": "/default/bench"}))
        connection.recv()
        open_ones += 1
        while True:
            try:
                text = connection.recv()
            except websocket.WebSocketConnectionClosedException:
                text = ""
            if not text:
                break
            frame = json.loads(text)
            if frame["type"] == "data":
                latencies.append(time.time() - json.loads(frame["event"])["_lg"][3] / 1e9)
        open_ones -= 1
        if open_ones == 0:
            print(json.dumps({"deliveries": len(latencies)}), flush=True)
            self.environment.runner.quit()
        self.stop(force=True)


def _quiet(environment: object, **_: object) -> None:
    sys.stdout.flush()


events.quitting.add_listener(_quiet)  # type: ignore[no-untyped-call]  # Locust's has no types
