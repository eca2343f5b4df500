"""What a broker's URL says: where it is, what carries the packets, and at which quality of service."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from loadgen.protocol.hosts import is_loopback

#: By the URL's scheme: that of the connection (see `Service.connect_url`) and the port where none is given. IANA has
#: assigned 1883 and 8883; WebSocket brokers are found at HTTP's ports or wherever they were put.
_CARRIERS: Final = {
    "mqtt": ("tcp", 1883),
    "mqtts": ("tls", 8883),
    "mqtt+ws": ("ws", 80),
    "mqtt+wss": ("wss", 443),
}
SCHEMES: Final = tuple(_CARRIERS)
_WEBSOCKET_PATH = "/mqtt"
_AWS_HOST = re.compile(r"[a-z0-9-]+\.iot\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


class EndpointError(ValueError):
    """A URL that is not that of a broker; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A broker's URL, taken apart."""

    url: str
    """As it was given, without `qos`."""
    connect_url: str
    hostname: str
    port: int
    qos: int

    @property
    def host(self) -> str:
        """Host and port."""
        name = f"[{self.hostname}]" if ":" in self.hostname else self.hostname
        return f"{name}:{self.port}"

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.connect_url.startswith(("tls:", "wss:"))

    @property
    def websocket(self) -> bool:
        """Whether packets travel in the frames of a WebSocket."""
        return self.connect_url.startswith("ws")

    @property
    def aws(self) -> bool:
        """Whether it is AWS IoT Core by its host's name; a domain of one's own is not known for one."""
        return _AWS_HOST.fullmatch(self.hostname) is not None

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The one host."""
        return (self.hostname,)

    @property
    def loopback(self) -> bool:
        """Whether the host's name says that it is this machine; a name of one's own that leads here does not."""
        return is_loopback(self.hostname)

    def describe(self) -> dict[str, str | None]:
        """Return the URLs for the manifest; there is none for HTTP."""
        return {"url": self.url, "http_url": None, "ws_url": self.connect_url if self.websocket else None}

    @classmethod
    def from_url(cls, url: str) -> "BrokerUrl":
        """Take a URL apart.

        Raises:
            EndpointError: another scheme, a path that is none of a WebSocket's, credentials in it, or an unknown query.
        """
        parts, port = _split(url)
        scheme, own_port = _CARRIERS[parts.scheme]
        hostname = parts.hostname or ""
        port = own_port if port is None else port
        name = f"[{hostname}]" if ":" in hostname else hostname
        path = parts.path
        if scheme.startswith("ws"):
            path = path or _WEBSOCKET_PATH
        elif path not in ("", "/"):
            raise EndpointError(
                f"URL {_shown(url)} has the path {path!a}: topics are the scenario's, and only"
                " 'mqtt+ws://' and 'mqtt+wss://' have a path"
            )
        else:
            path = ""
        broker = cls(
            f"{parts.scheme}://{name}:{port}{path}",
            f"{scheme}://{name}:{port}{path}",
            hostname,
            port,
            _qos(parts, url),
        )
        if broker.aws and not broker.tls:
            raise EndpointError(f"URL {_shown(url)} is not encrypted: AWS IoT Core speaks 'mqtts://' only")
        return broker


def _split(url: str) -> tuple[SplitResult, int | None]:
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError as error:
        raise EndpointError(f"URL {_shown(url)} cannot be read: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise EndpointError(
            "the URL holds a user name or password: name the environment variables that hold them, with"
            " --auth password:USER_VARIABLE:PASSWORD_VARIABLE"
        )
    if parts.scheme not in _CARRIERS or not parts.hostname or port == 0:
        raise EndpointError(
            f"URL {_shown(url)} is not one of a broker: write 'mqtt://<host>:1883' or 'mqtts://<host>:8883',"
            " or over WebSocket 'mqtt+ws://<host>:<port>/mqtt' or 'mqtt+wss://…'"
        )
    if parts.fragment:
        raise EndpointError(f"URL {_shown(url)} has a fragment ('#…'): topics are the scenario's")
    return parts, port


def _qos(parts: SplitResult, url: str) -> int:
    qos = 1
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name != "qos":
            raise EndpointError(
                f"URL {_shown(url)} has the query {name!a}: only 'qos' is known, as in '?qos=0'"
            )
        if value not in ("0", "1"):
            raise EndpointError(f"URL {_shown(url)} has 'qos={ascii(value)[1:-1]}': it may be 0 or 1")
        qos = int(value)
    return qos


def _shown(url: str) -> str:
    """Quote a URL without what may be a secret: user information, query and fragment."""
    return ascii(url.rpartition("@")[2].partition("?")[0].partition("#")[0])
