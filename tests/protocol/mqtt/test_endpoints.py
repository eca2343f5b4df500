"""Test the URLs of MQTT brokers."""

import pytest

from loadgen.protocol.mqtt.auth import ClientCertificate, UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.service import MqttService
from loadgen.protocol.urls import EndpointError
from loadgen.targets import APPSYNC_EVENTS, protocol_of

AWS = "a1b2c3d4e5-ats.iot.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "connect_url", "host", "qos"),
    [
        ("mqtt://broker", "tcp://broker:1883", "broker:1883", 1),
        ("mqtt://127.0.0.1:18830/?qos=0", "tcp://127.0.0.1:18830", "127.0.0.1:18830", 0),
        ("mqtts://broker.example.com", "tls://broker.example.com:8883", "broker.example.com:8883", 1),
        ("MQTT://[::1]:1884?qos=1", "tcp://[::1]:1884", "[::1]:1884", 1),
        ("mqtt+ws://broker:9001", "ws://broker:9001/mqtt", "broker:9001", 1),
        ("mqtt+wss://broker/path", "wss://broker:443/path", "broker:443", 1),
    ],
)
def test_a_url_says_where_the_broker_is_and_what_carries_the_packets(
    url: str, connect_url: str, host: str, qos: int
) -> None:
    broker = BrokerUrl.from_url(url)
    assert (broker.connect_url, broker.host, broker.settings.qos) == (connect_url, host, qos)
    assert broker.tls == connect_url.startswith(("tls", "wss"))
    assert broker.loopback == (broker.hostname in ("127.0.0.1", "::1"))
    assert BrokerUrl.from_url(broker.url).connect_url == connect_url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://", "is not one of a broker"),
        ("mqtt://broker:99999", "cannot be read"),
        ("mqtt://broker:0", "is not one of a broker"),
        ("mqtt://user:secret@broker", "--auth password:"),
        ("mqtt://broker/topic", "only 'mqtt+ws://'"),
        ("mqtt://broker?qos=3", "it may be 0, 1 or 2"),
        ("mqtt://broker?version=4", "it may be 5 or 3.1.1"),
        ("mqtt://broker?clean=no", "it may be true or false"),
        ("mqtt://broker?expiry=60", "add 'clean=false'"),
        ("mqtt://broker?clean=false&expiry=0", "from 1 to 604800"),
        ("mqtt://broker?clean=false&version=3.1.1&expiry=9", "needs a session to keep and MQTT 5"),
        ("mqtt://broker?clean=false&qos=0", "use 'qos=1'"),
        ("mqtt://broker?qos=1&qos=2", "twice"),
        ("mqtt://broker?keepalive=5", "only 'qos', 'version'"),
        ("mqtt://broker#news", "fragment"),
        (f"mqtt://{AWS}", "not encrypted"),
        (f"mqtts://{AWS}?qos=2", "use 'qos=1'"),
    ],
)
def test_what_is_no_brokers_url_is_told_in_a_sentence(url: str, said: str) -> None:
    with pytest.raises(EndpointError) as caught:
        BrokerUrl.from_url(url)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_the_scheme_chooses_the_protocol_and_aws_has_its_quotas() -> None:
    assert protocol_of("mqtt://broker").name == protocol_of("mqtt+wss://broker/x").name == "mqtt"
    assert protocol_of("mqtt://broker").rules.publishes_per_connection_per_s is None
    aws = protocol_of(f"mqtts://{AWS}")
    assert aws.name == "aws-iot"
    assert aws.rules.publishes_per_connection_per_s == 100
    for url in (None, "https://x/event", "127.0.0.1:1883", "mqttx://broker"):
        assert protocol_of(url) is APPSYNC_EVENTS


def test_aws_wants_a_login_and_at_port_443_the_name_of_its_protocol() -> None:
    certificate = ClientCertificate("cert.pem", "key.pem")
    service = MqttService(BrokerUrl.from_url(f"mqtts://{AWS}:443"), certificate)
    assert (service.tls.certificate, service.tls.key) == ("cert.pem", "key.pem")
    assert service.tls.alpn == ("x-amzn-mqtt-ca",)
    assert MqttService(BrokerUrl.from_url(f"mqtts://{AWS}"), certificate).tls.alpn == ()
    assert MqttService(BrokerUrl.from_url(f"mqtts://{AWS}:443"), UserPassword("u", "p")).tls.alpn == ("mqtt",)
    with pytest.raises(ValueError, match="requires a login"):
        MqttService(BrokerUrl.from_url(f"mqtts://{AWS}"), None)
    with pytest.raises(ValueError, match="needs an encrypted connection"):
        MqttService(BrokerUrl.from_url("mqtt://broker"), certificate)


def test_no_two_conversations_have_one_client_id() -> None:
    service = MqttService(BrokerUrl.from_url("mqtt://broker"), None)
    other = MqttService(BrokerUrl.from_url("mqtt://broker"), None)
    sessions = [each.session(None, "7-0") for each in (service, service, other)]  # type: ignore[arg-type]
    ids = [session.opening()[0] for session in sessions]
    assert len(set(ids)) == 3
    assert all(b"-7-0-" in packet for packet in ids)
