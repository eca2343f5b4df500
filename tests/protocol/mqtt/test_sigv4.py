"""Test the signed WebSocket upgrade for AWS IoT Core; a listener verifies each signature by AWS's algorithm."""

import base64
import hashlib
import hmac
import socket
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote

import pytest

from loadgen.client.event_client import EventClient
from loadgen.exits import RunError
from loadgen.protocol.appsync.sigv4 import IamSignature
from loadgen.protocol.mqtt.auth import AwsKeys, ClientCertificate, UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.service import MqttService
from loadgen.run.target import Target, login_of
from loadgen.transport.errors import TransportError

#: Example credentials from AWS's documentation.
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "session/token+with=signs"
AWS = "a1b2c3d4e5-ats.iot.eu-west-1.amazonaws.com"


@dataclass(frozen=True)
class Keys:
    access_key: str = KEY
    secret_key: str = field(default=SECRET, repr=False)
    token: str | None = None


def signature(secret: str, path: str, query: list[tuple[str, str]], host: str, payload_hash: str) -> str:
    """Return the signature, as AWS's "Authenticating Requests: Using Query Parameters (SigV4)" defines it."""
    found = dict(query)
    _, date, region, service, _ = found["X-Amz-Credential"].split("/")
    canonical = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query)
    )
    request = f"GET\n{path}\n{canonical}\nhost:{host}\n\nhost\n{payload_hash}"
    scope = f"{date}/{region}/{service}/aws4_request"
    hashed = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{found['X-Amz-Date']}\n{scope}\n{hashed}"
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_the_reference_gives_the_signature_that_aws_has_published() -> None:
    """The published example of the S3 documentation is a presigned GET of test.txt in examplebucket."""
    query = [
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Credential", f"{KEY}/20130524/us-east-1/s3/aws4_request"),
        ("X-Amz-Date", "20130524T000000Z"),
        ("X-Amz-Expires", "86400"),
        ("X-Amz-SignedHeaders", "host"),
    ]
    assert (
        signature(SECRET, "/test.txt", query, "examplebucket.s3.amazonaws.com", "UNSIGNED-PAYLOAD")
        == "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def verified(target: str, host: str) -> dict[str, str]:
    """Return the query of an upgrade; assert that its signature is valid for AWS IoT Core."""
    path, _, query = target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    found = dict(pairs)
    signed = [
        (name, value) for name, value in pairs if name not in ("X-Amz-Signature", "X-Amz-Security-Token")
    ]
    nothing = hashlib.sha256(b"").hexdigest()
    assert found["X-Amz-Signature"] == signature(SECRET, path, signed, host, nothing)
    assert found["X-Amz-SignedHeaders"] == "host"
    assert (
        abs(
            datetime.strptime(found["X-Amz-Date"] + "+0000", "%Y%m%dT%H%M%SZ%z") - datetime.now(UTC)
        ).total_seconds()
        < 300
    )
    return found


@pytest.mark.parametrize("token", [None, TOKEN])
def test_each_upgrade_is_signed_for_the_host_without_the_default_port(token: str | None) -> None:
    login = IamSignature(lambda: Keys(token=token), "eu-west-1")
    assert isinstance(login, AwsKeys)
    service = MqttService(BrokerUrl.from_url(f"mqtt+wss://{AWS}"), login)
    handshake = service.handshake()
    assert handshake.resource is not None
    found = verified(handshake.resource, AWS)
    assert handshake.resource.startswith("/mqtt?")
    assert found["X-Amz-Credential"].split("/")[2:] == ["eu-west-1", "iotdevicegateway", "aws4_request"]
    assert found.get("X-Amz-Security-Token") == token
    # The token is the last parameter, and is not signed.
    assert (token is None) or handshake.resource.endswith(quote(TOKEN, safe=""))
    assert (handshake.subprotocols, handshake.binary) == (("mqtt",), True)
    assert SECRET not in handshake.resource
    assert "Signature" not in repr(handshake)
    assert KEY not in repr(handshake)


def test_another_port_is_signed_with_the_host() -> None:
    login = IamSignature(Keys, "us-east-1")
    service = MqttService(BrokerUrl.from_url("mqtt+wss://broker.example.com:8443/iot"), login)
    resource = service.handshake().resource
    assert resource is not None
    verified(resource, "broker.example.com:8443")
    assert resource.startswith("/iot?")


@pytest.mark.parametrize("url", ["mqtts://broker", "mqtt://127.0.0.1", "mqtt+ws://broker.example.com"])
def test_keys_need_a_websocket_that_is_encrypted_or_stays_here(url: str) -> None:
    with pytest.raises(ValueError, match=r"write 'mqtt\+wss://'"):
        MqttService(BrokerUrl.from_url(url), IamSignature(Keys, "us-east-1"))


def test_other_logins_are_no_keys() -> None:
    assert not isinstance(UserPassword("u", "p"), AwsKeys)
    assert not isinstance(ClientCertificate("c", "k"), AwsKeys)
    for login in (None, UserPassword("u", "p")):
        assert MqttService(BrokerUrl.from_url("mqtt+wss://broker"), login).handshake().resource is None


class Listener(threading.Thread):
    """Verifies the signature of one upgrade as AWS IoT Core does; accepts the client or answers with 403."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.query: dict[str, str] = {}
        self.connect = b""

    def run(self) -> None:
        connection, _ = self._socket.accept()
        with connection, self._socket:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            try:
                self.query = verified(lines[0].split(" ")[1], headers["host"])
            except AssertionError:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
                return
            accept = base64.b64encode(
                hashlib.sha1(
                    headers["sec-websocket-key"].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
                    usedforsecurity=False,
                ).digest()
            ).decode()
            connection.sendall(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode()
            )
            self.connect = connection.recv(65_536)
            # Send a CONNACK in a binary frame.
            connection.sendall(b"\x82\x05\x20\x03\x00\x00\x00")
            connection.recv(65_536)


def logged_in(listener: Listener, monkeypatch: pytest.MonkeyPatch, **variables: str) -> EventClient:
    for name, value in {"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": KEY, **variables}.items():
        monkeypatch.setenv(name, value)
    target = Target.of(f"mqtt+ws://127.0.0.1:{listener.port}", login_of(None, "iam"))
    client = EventClient(target.service())
    client.open()
    client.login()
    return client


def test_a_listener_that_verifies_lets_us_in(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    listener.start()
    client = logged_in(listener, monkeypatch, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN=TOKEN)
    client.close()
    listener.join(10)
    assert listener.query["X-Amz-Security-Token"] == TOKEN
    assert "/eu-central-1/iotdevicegateway/" in listener.query["X-Amz-Credential"]
    assert listener.connect


def test_another_secret_is_refused_and_stays_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    listener.start()
    with pytest.raises(TransportError, match="403") as caught:
        logged_in(listener, monkeypatch, AWS_SECRET_ACCESS_KEY="other-secret-canary")
    listener.join(10)
    assert "canary" not in str(caught.value)
    assert "X-Amz" not in str(caught.value)


def test_without_a_region_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(RunError, match="region is not known"):
        Target.of("mqtt+ws://127.0.0.1:1", login_of(None, "iam")).service()


def test_the_region_is_that_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    service = Target.of(f"mqtt+wss://{AWS}", login_of(None, "iam")).service()
    resource = service.handshake().resource
    assert resource is not None
    assert verified(resource, AWS)["X-Amz-Credential"].split("/")[2] == "eu-west-1"
