"""Locust's own MqttUser with paho: `locust -f receive_mqtt_locust.py`; one user per connection.

Latencies go into a list, since a `request` event for each would cost more than the delivery.
"""

import json
import os
import time
from typing import Any

from gevent.event import Event
from locust import task
from locust.contrib.mqtt import MqttUser
from locust_end import End

latencies: list[float] = []
end = End(latencies)


class Subscriber(MqttUser):
    """Receives until the sender disconnects."""

    host = "127.0.0.1"
    port = int(os.environ["BENCH_PORT"])
    #: Without this setting of Locust, a process may have at most 340 connections.
    use_loop_selectors = True

    @task
    def receive(self) -> None:
        """Subscribe and wait for the end."""
        over = Event()
        self.client.on_message = self._received
        self.client.on_disconnect = lambda *_: over.set()
        while not self.client.is_connected():
            time.sleep(0.01)
        self.client.subscribe("default/bench")
        with end.one(self):
            over.wait()
            self.client.loop_stop()

    def _received(self, client: Any, userdata: Any, message: Any) -> None:
        latencies.append(time.time() - json.loads(message.payload)["_lg"][3] / 1e9)
