"""A broker as a target: implements the interface of `loadgen.protocol.base`."""

import re
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
from loadgen.protocol.mqtt.auth import AwsKeys, ClientCertificate, UserPassword
from loadgen.protocol.mqtt.endpoints import BrokerUrl
from loadgen.protocol.mqtt.memory import Memory
from loadgen.protocol.mqtt.session import MqttSession
from loadgen.protocol.mqtt.use import Use
from loadgen.protocol.mqtt.wire import wire_of
from loadgen.protocol.shares import pattern_of

SUBPROTOCOL: Final = "mqtt"
"""The WebSocket subprotocol to offer (MQTT 5, 6)."""

PROBE_SEGMENT: Final = "loadgen-probe"
"""The last segment of the topic to which a wildcard subscription's readiness probe is published."""

# On this port AWS IoT Core needs ALPN ("Protocols, authentication, and port mappings", AWS IoT Developer Guide,
# protocols.html).
_AWS_ALPN_PORT: Final = 443
_AWS_ALPN_CERTIFICATE: Final = "x-amzn-mqtt-ca"
_AWS_ALPN_PASSWORD: Final = "mqtt"  # noqa: S105  the name of a protocol
#: Matches the connection names of a scenario's clients: the client's number, a hyphen, the number of the connection.
_OF_A_CLIENT: Final = re.compile(r"(\d+)-\d+").fullmatch


class MqttService:
    """Implements `Service` for a broker and a login."""

    __slots__ = (
        "_keys",
        "_memories",
        "_prefix",
        "_sessions",
        "_use",
        "answers_publishes",
        "connect_url",
        "tls",
    )

    http_url = None
    answers_opening = answers_subscribes = True

    def __init__(self, broker: BrokerUrl, login: UserPassword | ClientCertificate | AwsKeys | None) -> None:
        """Use ``login`` for each connection; if it is None, clients are anonymous.

        Raises:
            ValueError: a certificate is used without TLS, AWS keys are used without an encrypted (or loopback)
                WebSocket, or AWS IoT Core is used without a login.
        """
        if isinstance(login, ClientCertificate) and not broker.tls:
            raise ValueError(
                f"a client certificate needs an encrypted connection, and the target is {broker.url}:"
                " write 'mqtts://' or 'mqtt+wss://'"
            )
        if broker.aws and login is None:
            raise ValueError(
                "AWS IoT Core requires a login: give --auth certificate:CERTIFICATE:KEY, or with 'mqtt+wss://'"
                " --auth iam"
            )
        self._keys = login if isinstance(login, AwsKeys) else None
        if self._keys is not None and not (broker.websocket and (broker.tls or broker.loopback)):
            raise ValueError(
                f"AWS keys sign the upgrade of a WebSocket, and the target is {broker.url}: write 'mqtt+wss://'"
            )
        self.connect_url = broker.connect_url
        self.answers_publishes = broker.settings.qos > 0
        self.tls = _tls(broker, login)
        self._use = Use(
            broker.settings,
            wire_of(broker.settings.version),
            login if isinstance(login, UserPassword) else None,
            websocket=broker.websocket,
        )
        # A broker ends the connection of an earlier client with the same id, so ids must differ between runs and
        # processes.
        self._prefix = f"loadgen-{secrets.token_hex(5)}"
        self._sessions = count()
        #: The session state of each client that resumes sessions, by the client's number.
        self._memories: dict[str, Memory] = {}

    def carry_stamps(self, name: str) -> None:
        """Put stamps into a user property (MQTT 5, 3.3.2.3.7); brokers pass it on unaltered."""
        self._use = self._use._replace(stamp_name=name)

    def for_client(self, logins: ClientLogins) -> "MqttService":
        """Return a copy of the service that logs in with one client's user and password and shares everything else."""
        made = copy(self)
        if logins.connect is not None:
            made._use = self._use._replace(login=logins.connect)
        return made

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the WebSocket handshake; packets travel in binary frames (MQTT 5, 6)."""
        if self._keys is None:
            return Handshake((SUBPROTOCOL,), binary=True)
        from loadgen.protocol.mqtt.sigv4 import signed_resource

        return Handshake((SUBPROTOCOL,), binary=True, resource=signed_resource(self._keys, self.connect_url))

    def session(self, handler: SessionHandler, name: str = "") -> MqttSession:
        """Return a new session with a unique client id that contains ``name``.

        With `clean=false` all connections of a scenario's client share one client id and one `Memory`. Other
        connections, such as those of readiness probes, start without a stored session.
        """
        found = None if self._use.settings.clean else _OF_A_CLIENT(name)
        if found is not None:
            memory = self._memory(found[1])
            return MqttSession(handler, memory.client_id, self._use, memory)
        return MqttSession(handler, f"{self._prefix}-{name or 'n'}-{next(self._sessions)}", self._use)

    def _memory(self, client: str) -> Memory:
        memory = self._memories.get(client)
        if memory is None:
            settings = self._use.settings
            expiry_s = settings.expiry_s if settings.properties else None
            memory = self._memories[client] = Memory(f"{self._prefix}-{client}", expiry_s)
        return memory

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Never called: MQTT has no HTTP."""
        raise NotImplementedError

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Never called: MQTT has no HTTP."""
        raise NotImplementedError

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the broker for display: escaped, cut, and without the login's secrets."""
        return self._use.shown(message)

    def channel_for(self, pattern: str) -> str:
        """Return a channel whose events a subscription to ``pattern`` receives."""
        pattern = pattern_of(pattern)
        return pattern.removesuffix("*") + PROBE_SEGMENT if pattern.endswith("/*") else pattern


def _tls(broker: BrokerUrl, login: UserPassword | ClientCertificate | AwsKeys | None) -> TlsOptions:
    certificate = login if isinstance(login, ClientCertificate) else None
    alpn: tuple[str, ...] = ()
    if broker.aws and broker.port == _AWS_ALPN_PORT and not broker.websocket:
        alpn = (_AWS_ALPN_CERTIFICATE if certificate else _AWS_ALPN_PASSWORD,)
    return TlsOptions(
        certificate.certificate if certificate else None, certificate.key if certificate else None, alpn
    )
