"""Test that each installed receiver of the speed benchmark receives everything that is sent to it."""

from pathlib import Path

import pytest

from tests.system.project.test_benchmarks import figures_of

RECEIVE = """
import json, sys
from pathlib import Path
from receive import receivers
from receive.running import running
from receive.payloads import PAYLOADS
from receive.sender import Order

if __name__ == "__main__":
    folder = Path(sys.argv[2])
    (receiver,) = [one for one in receivers.all_of(folder) if one.label == sys.argv[1]]
    if receiver.missing:
        print(json.dumps({"missing": receiver.missing}))
        sys.exit()
    with running(receiver, 3, folder) as one:
        for payload in PAYLOADS:
            one.send(Order(100.0, 2, 0.1, payload))
        one.stop()
    print(json.dumps({"sent": one.sent, "received": one.received}))
"""
#: Each label begins with the service, because several services have receivers of the same name.
LABELS = (
    *("AppSync Events: C, epoll and read (limit)", "AppSync Events: picows with aiofastnet"),
    *("AppSync Events: picows with aiofastnet, wss", "AppSync Events: k6", "AppSync Events: Artillery"),
    *("AppSync Events: Locust with websocket-client", "Socket.IO: Locust's SocketIOUser"),
    *("AppSync Events: Tsung (bytes, undecoded)", "MQTT: C, epoll and read (limit)", "MQTT: ours, MQTT"),
    *("MQTT: mosquitto_sub, a process each", "MQTT: mqtt of npm", "MQTT: Locust's MqttUser (paho)"),
    *("NATS over WebSocket: C, epoll and read (limit)", "NATS over WebSocket: ours, NATS"),
    *("NATS over WebSocket: nats-py, WebSocket", "NATS: nats-py, TCP"),
)


@pytest.mark.parametrize("label", LABELS)
def test_every_receiver_counts_all_events_of_every_payload(label: str, tmp_path: Path) -> None:
    figures = figures_of(RECEIVE, label, tmp_path)
    if "missing" in figures:
        pytest.skip(figures["missing"])
    assert figures["received"] == figures["sent"] > 0
