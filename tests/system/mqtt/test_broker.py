"""Test MQTT clients against a real broker, with every transport and every kind of login."""

import socket
import sys
import threading
from operator import attrgetter

import gevent
import pytest

from loadgen.client.event_client import Delivery, EventClient, ServiceRefusedError
from loadgen.exits import ExitCode, RunError
from loadgen.measure.clock import now_ns
from loadgen.protocol.base import UNACKNOWLEDGED, PublishAnswer
from loadgen.run.target import Target, login_of
from loadgen.run.target_check import check
from loadgen.transport.errors import TransportError
from tests.system.mqtt.broker import PASSWORD, USER, Broker

CARRIERS = ["tcp", "tls", "websocket", "secure_websocket"]


class Arrivals(list[Delivery]):
    """The received deliveries, with methods to wait for more."""

    def wait_for(self, count: int) -> None:
        with gevent.Timeout(10):
            while len(self) < count:
                gevent.sleep(0.005)


def client_of(url: str, auth: str | None = None) -> tuple[EventClient, Arrivals]:
    arrivals = Arrivals()
    client = EventClient(Target.of(url, login_of(None, auth)).service(), arrivals.append)
    client.open()
    client.login()
    return client, arrivals


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.usefixtures("inlet_kind")
def test_events_are_published_delivered_and_stamped_by_the_kernel(trusting: Broker, carrier: str) -> None:
    client, arrivals = client_of(attrgetter(carrier)(trusting))
    before_ns = now_ns()
    exact = client.subscribe(f"/default/{carrier}")
    below = client.subscribe(f"/default/{carrier}-rooms/*")
    # The event is larger than one read, one TLS record and one send. Over WebSocket it is smaller, because
    # Mosquitto would take seconds for it.
    large = '"' + "ü" * (2_000 if "websocket" in carrier else 100_000) + '"'
    assert client.publish(f"/default/{carrier}", ["1", "2", large]) == PublishAnswer()
    assert client.publish(f"/default/{carrier}-rooms/7/chairs", ['"below"']) == PublishAnswer()
    arrivals.wait_for(4)
    assert [(each.subscription_id, each.event) for each in arrivals] == [
        (exact, "1"),
        (exact, "2"),
        (exact, large),
        (below, '"below"'),
    ]
    assert all(before_ns < each.arrival_ns < now_ns() for each in arrivals)
    assert client.socket.kernel_timestamps is sys.platform.startswith("linux")
    assert client.socket.secure is ("tls" in carrier or "secure" in carrier)
    client.close()
    assert client.ended.is_set()
    assert client.deviations == []


def test_the_largest_burst_waits_for_the_brokers_acknowledgements(broker: Broker) -> None:
    """Mosquitto accepts 20 unacknowledged messages, and closes the connection of a client that sends more."""
    client, arrivals = client_of(broker.tcp)
    client.subscribe("/default/burst")
    assert client.publish("/default/burst", [str(number) for number in range(500)]) == PublishAnswer()
    arrivals.wait_for(500)
    assert [int(each.event) for each in arrivals] == list(range(500))
    client.close()


def test_at_qos_0_whether_an_event_was_taken_is_unknown(broker: Broker) -> None:
    client, arrivals = client_of(f"{broker.tcp}?qos=0")
    client.subscribe("/default/qos0")
    answer = client.publish("/default/qos0", ["1"])
    assert answer is UNACKNOWLEDGED
    assert answer.acknowledged is False
    arrivals.wait_for(1)
    client.close()


def test_a_user_with_a_password_is_let_in_and_others_are_told_why_not(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_USER", USER)
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    auth = "password:BROKER_USER:BROKER_PASSWORD"
    client_of(broker.with_password, auth)[0].close()
    with pytest.raises(ServiceRefusedError, match="not authorized"):
        client_of(broker.with_password)
    monkeypatch.setenv("BROKER_PASSWORD", "battery staple")
    with pytest.raises(RunError) as caught:
        check(Target.of(broker.with_password, login_of(None, auth)))
    assert caught.value.code == ExitCode.TARGET
    assert "refused us: not authorized" in str(caught.value)
    assert "check the password from user and password" in str(caught.value)
    assert "battery" not in str(caught.value)


def test_a_client_certificate_is_a_login(trusting: Broker) -> None:
    auth = f"certificate:{trusting.certificate}:{trusting.key}"
    client_of(trusting.with_certificate, auth)[0].close()
    # Connect without a certificate. In TLS 1.3 the client's handshake succeeds before the server refuses.
    with pytest.raises(TransportError, match=r"TLS failed|closed the connection"):
        client_of(trusting.with_certificate)
    with pytest.raises(
        RunError, match=r"the client certificate '.*missing.pem' or its key cannot be used"
    ) as caught:
        check(Target.of(trusting.tls, login_of(None, f"certificate:missing.pem:{trusting.key}")))
    assert caught.value.code == ExitCode.USAGE


def test_a_broker_that_is_not_trusted_is_refused(broker: Broker) -> None:
    with pytest.raises(TransportError, match="TLS failed"):
        client_of(broker.tls)


def test_what_is_no_broker_is_told_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(
            target=_answer, args=(listener, b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 90)
        )
        thread.start()
        with pytest.raises(ServiceRefusedError, match="does it speak MQTT 5"):
            client_of(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_a_broker_that_goes_away_ends_the_connection(broker: Broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # The thread plays a broker: it answers CONNECT by a CONNACK and then closes the connection.
        thread = threading.Thread(target=_answer, args=(listener, b"\x20\x03\x00\x00\x00"))
        thread.start()
        client, _ = client_of(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
        assert client.ended.wait(10)
        assert "closed the connection" in client.why
        with pytest.raises(TransportError, match="the connection is closed"):
            client.publish("/a", ["1"])


def _answer(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("auth", "said"),
    [
        ("password:ONE", "password:USER_VARIABLE:PASSWORD_VARIABLE"),
        ("certificate:only.pem", "certificate:CERTIFICATE.pem:KEY.pem"),
        (
            "api-key:NAME",
            "one cannot log in to MQTT 5 by api-key: modes for it are certificate, iam, password",
        ),
        ("password:NOT_SET_A:NOT_SET_B", "NOT_SET_A is not set"),
    ],
)
def test_a_login_that_cannot_be_is_told(auth: str, said: str) -> None:
    with pytest.raises(RunError) as caught:
        Target.of("mqtt://127.0.0.1:1", login_of(None, auth))
    assert said in str(caught.value)
    assert caught.value.code == ExitCode.USAGE
