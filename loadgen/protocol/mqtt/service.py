"""A broker as a target: implements the interface of `loadgen.protocol.base`."""

import secrets
from collections.abc import Sequence
from copy import copy
from itertools import count
from typing import Final

from loadgen.protocol.base import (
    ClientLogins,
    Handshake,
    HttpRequest,
    PublishAnswer,
    SessionHandler,
    TlsOptions,
)
from loadgen.protocol.mqtt.auth import ClientCertificate, UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.packets import PacketReader
from loadgen.protocol.mqtt.session import MqttSession, shown

SUBPROTOCOL: Final = "mqtt"
"""The WebSocket subprotocol to offer (MQTT 5, 6)."""

PROBE_SEGMENT: Final = "loadgen-probe"
"""The last segment of the topic to which a wildcard subscription's readiness probe is published."""

# "Protocols, authentication, and port mappings", AWS IoT Developer Guide, protocols.html.
_AWS_ALPN_PORT: Final = 443
_AWS_ALPN_CERTIFICATE: Final = "x-amzn-mqtt-ca"
_AWS_ALPN_PASSWORD: Final = "mqtt"  # noqa: S105  the name of a protocol


class MqttService:
    """Implements `Service` for a broker and a login."""

    __slots__ = (
        "_prefix",
        "_qos",
        "_reader",
        "_sessions",
        "_stamp_name",
        "_user",
        "_websocket",
        "answers_publishes",
        "connect_url",
        "tls",
    )

    http_url = None
    answers_opening = answers_subscribes = True

    def __init__(self, broker: BrokerUrl, login: UserPassword | ClientCertificate | None) -> None:
        """Without ``login`` the client is anonymous.

        Raises:
            ValueError: a certificate is used without TLS, or AWS IoT Core without a login.
        """
        if isinstance(login, ClientCertificate) and not broker.tls:
            raise ValueError(
                f"a client certificate needs an encrypted connection, and the target is {broker.url}:"
                " write 'mqtts://' or 'mqtt+wss://'"
            )
        if broker.aws and login is None:
            raise ValueError("AWS IoT Core requires a login: give --auth certificate:CERTIFICATE:KEY")
        self.connect_url = broker.connect_url
        self.answers_publishes = broker.qos > 0
        self.tls = _tls(broker, login)
        self._qos = broker.qos
        self._websocket = broker.websocket
        self._user = login if isinstance(login, UserPassword) else None
        # A broker ends the connection of an earlier client with the same id: ids differ between runs and processes.
        self._prefix = f"loadgen-{secrets.token_hex(5)}"
        self._sessions = count()
        self._reader = PacketReader()
        self._stamp_name: str | None = None

    def carry_stamps(self, name: str) -> None:
        """Put stamps into a user property (MQTT 5, 3.3.2.3.7); brokers pass it on unaltered."""
        self._stamp_name = name

    def for_client(self, logins: ClientLogins) -> "MqttService":
        """Return the service with the user and password of one client; it shares all else with this one."""
        made = copy(self)
        if logins.connect is not None:
            made._user = logins.connect
        return made

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the WebSocket handshake; packets travel in binary frames (MQTT 5, 6)."""
        return Handshake((SUBPROTOCOL,), binary=True)

    def session(self, handler: SessionHandler, name: str = "") -> MqttSession:
        """Return a new session with a unique client id that contains ``name``."""
        client_id = f"{self._prefix}-{name or 'n'}-{next(self._sessions)}"
        return MqttSession(
            handler, client_id, self._qos, self._user, self._reader, self._stamp_name, self._websocket
        )

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Never called: MQTT has no HTTP."""
        raise NotImplementedError

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Never called: MQTT has no HTTP."""
        raise NotImplementedError

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the broker for display: escaped, cut, and without the login's secrets."""
        return shown(message, self._user)

    def channel_for(self, pattern: str) -> str:
        """Return a channel that a subscription to ``pattern`` receives."""
        return pattern.removesuffix("*") + PROBE_SEGMENT if pattern.endswith("/*") else pattern


def _tls(broker: BrokerUrl, login: UserPassword | ClientCertificate | None) -> TlsOptions:
    certificate = login if isinstance(login, ClientCertificate) else None
    alpn: tuple[str, ...] = ()
    if broker.aws and broker.port == _AWS_ALPN_PORT and not broker.websocket:
        alpn = (_AWS_ALPN_CERTIFICATE if certificate else _AWS_ALPN_PASSWORD,)
    return TlsOptions(
        certificate.certificate if certificate else None, certificate.key if certificate else None, alpn
    )
