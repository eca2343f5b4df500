"""Parse a broker's URL: its address, its transport and its settings."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl

from loadgen.protocol.hosts import is_loopback
from loadgen.protocol.mqtt import limits
from loadgen.protocol.mqtt.settings import Settings, of_query
from loadgen.protocol.urls import EndpointError, in_url, shown, split

#: Maps the URL's scheme to the scheme of the connection (see `Service.connect_url`) and the default port. IANA has
#: assigned 1883 and 8883; for WebSocket brokers, which have no assigned port, HTTP's ports are the default.
_CARRIERS: Final = {
    "mqtt": ("tcp", 1883),
    "mqtts": ("tls", 8883),
    "mqtt+ws": ("ws", 80),
    "mqtt+wss": ("wss", 443),
}
SCHEMES: Final = tuple(_CARRIERS)
_WEBSOCKET_PATH = "/mqtt"
_LOGIN: Final = (
    "name the environment variables that hold them, with --auth password:USER_VARIABLE:PASSWORD_VARIABLE"
)
_AWS_HOST = re.compile(r"[a-z0-9-]+\.iot\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A parsed broker URL."""

    url: str
    """The given URL with its port and without its query."""
    connect_url: str
    hostname: str
    port: int
    settings: Settings

    @property
    def host(self) -> str:
        """The host and port."""
        return f"{in_url(self.hostname)}:{self.port}"

    @property
    def tls(self) -> bool:
        """True if the connection is encrypted."""
        return self.connect_url.startswith(("tls:", "wss:"))

    @property
    def websocket(self) -> bool:
        """True if packets travel in WebSocket frames."""
        return self.connect_url.startswith("ws")

    @property
    def aws(self) -> bool:
        """True if the host's name is that of AWS IoT Core; a custom domain is not recognised."""
        return _AWS_HOST.fullmatch(self.hostname) is not None

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The broker's host."""
        return (self.hostname,)

    @property
    def loopback(self) -> bool:
        """True if the host's name is a loopback name or address; the name is not resolved."""
        return is_loopback(self.hostname)

    def describe(self) -> dict[str, str | None]:
        """Return the URLs for the manifest; the HTTP URL is None."""
        return {"url": self.url, "http_url": None, "ws_url": self.connect_url if self.websocket else None}

    @classmethod
    def from_url(cls, url: str) -> "BrokerUrl":
        """Parse a broker's URL.

        Raises:
            EndpointError: the URL has an unknown scheme, a path without a WebSocket scheme, credentials, a fragment or
                an unknown query, or would reach AWS IoT Core unencrypted or at QoS 2.
        """
        parts, port = _split(url)
        scheme, own_port = _CARRIERS[parts.scheme]
        hostname = parts.hostname or ""
        port = own_port if port is None else port
        name = in_url(hostname)
        path = parts.path
        if scheme.startswith("ws"):
            path = path or _WEBSOCKET_PATH
        elif path not in ("", "/"):
            raise EndpointError(
                f"URL {shown(url)} has the path {path!a}: topics are the scenario's, and only"
                " 'mqtt+ws://' and 'mqtt+wss://' have a path"
            )
        else:
            path = ""
        broker = cls(
            f"{parts.scheme}://{name}:{port}{path}",
            f"{scheme}://{name}:{port}{path}",
            hostname,
            port,
            _settings(parts, url),
        )
        if broker.aws and not broker.tls:
            raise EndpointError(
                f"URL {shown(url)} is not encrypted: AWS IoT Core speaks 'mqtts://' and 'mqtt+wss://' only"
            )
        if broker.aws and broker.settings.qos > limits.AWS_QOS_MAX:
            raise EndpointError(
                f"URL {shown(url)} asks for QoS 2, which AWS IoT Core does not have: use 'qos=1'"
            )
        return broker


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts, port = split(url, _LOGIN)
    if parts.scheme not in _CARRIERS or not parts.hostname or port == 0:
        raise EndpointError(
            f"URL {shown(url)} is not one of a broker: write 'mqtt://<host>:1883' or 'mqtts://<host>:8883',"
            " or over WebSocket 'mqtt+ws://<host>:<port>/mqtt' or 'mqtt+wss://…'"
        )
    if parts.fragment:
        raise EndpointError(f"URL {shown(url)} has a fragment ('#…'): topics are the scenario's")
    return parts, port


def _settings(parts: SplitResult, url: str) -> Settings:
    try:
        return of_query(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as error:
        raise EndpointError(f"URL {shown(url)} {error}") from None
