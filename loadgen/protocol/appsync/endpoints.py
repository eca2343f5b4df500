"""Derive the two URLs of an Event API from the one URL that the user gives."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from loadgen.protocol.hosts import is_loopback
from loadgen.protocol.urls import EndpointError, in_url, port_suffix, shown, split

HTTP_PATH = "/event"
REALTIME_PATH = "/event/realtime"

_SCHEMES = {"http": False, "https": True, "ws": False, "wss": True}
#: The form of AWS's host names, for Event APIs and GraphQL APIs. Emulators use the same form under their own domain,
#: such as `<id>.appsync-api.<region>.localhost`.
TWO_HOSTS = re.compile(r"(?P<id>[a-z0-9]+)\.appsync-(?:api|realtime-api)\.(?P<rest>[a-z0-9.-]+)")
AWS_HOST = re.compile(r"[a-z0-9]+\.appsync-(?:api|realtime-api)\.[a-z0-9-]+\.amazonaws\.com(?:\.cn)?")


def origins(url: str, hostname: str, port: int | None, *, tls: bool) -> tuple[str, str]:
    """Return the hosts of an AppSync API for HTTP and for WebSockets, each with the port if a URL needs it.

    On the AWS domain the two differ (`appsync-api`, `appsync-realtime-api`), as with emulators that use the same form;
    a custom domain and a local server have one host (AWS docs).

    Raises:
        EndpointError: ``url`` would reach AWS unencrypted.
    """
    if AWS_HOST.fullmatch(hostname) and not tls:
        raise EndpointError(f"URL {shown(url)} would send the key unencrypted to AWS: write 'https://'")
    suffix = port_suffix(port, tls=tls)
    two = TWO_HOSTS.fullmatch(hostname)
    if two is None:
        host = in_url(hostname) + suffix
        return host, host
    return (
        f"{two['id']}.appsync-api.{two['rest']}{suffix}",
        f"{two['id']}.appsync-realtime-api.{two['rest']}{suffix}",
    )


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The URL for publishes over HTTP and the URL for WebSockets.

    `http_host` is the `host` of an authorization: the HTTP host, with the port if it is not the scheme's default.
    """

    http_url: str
    ws_url: str
    http_host: str

    @property
    def host(self) -> str:
        """The HTTP host, which credentials are issued for."""
        return self.http_host

    def describe(self) -> dict[str, str | None]:
        """Return both URLs for the manifest; the HTTP URL is also the target's name (`url`)."""
        return {"url": self.http_url, "http_url": self.http_url, "ws_url": self.ws_url}

    @property
    def tls(self) -> bool:
        """True if both URLs are encrypted."""
        return self.http_url.startswith("https:")

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The hosts of both URLs."""
        hosts = (urlsplit(url).hostname or "" for url in (self.http_url, self.ws_url))
        return tuple(dict.fromkeys(hosts))

    @property
    def loopback(self) -> bool:
        """True if the names of all hosts are loopback names or addresses; the names are not resolved."""
        return all(map(is_loopback, self.hostnames))

    @classmethod
    def from_url(cls, url: str) -> "Endpoints":
        """Return the endpoints of an Event API by its HTTP or its realtime URL.

        Raises:
            EndpointError: the URL has an unknown scheme or path, holds credentials, a query or a fragment, or would
                reach AWS unencrypted.
        """
        parts, port = _split(url)
        tls = _SCHEMES[parts.scheme]
        http_host, ws_host = origins(url, parts.hostname or "", port, tls=tls)
        secure = "s" if tls else ""
        return cls(
            http_url=f"http{secure}://{http_host}{HTTP_PATH}",
            ws_url=f"ws{secure}://{ws_host}{REALTIME_PATH}",
            http_host=http_host,
        )


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts, port = split(url, "an Event API takes its key from elsewhere")
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise EndpointError(
            f"URL {shown(url)} is not one of an Event API: write 'https://<host>/event' "
            "(or 'http://' for a local server)"
        )
    if parts.query or parts.fragment:
        raise EndpointError(f"URL {shown(url)} has a query or fragment: it must end in '{HTTP_PATH}'")
    if parts.path.removesuffix("/") not in (HTTP_PATH, REALTIME_PATH):
        raise EndpointError(
            f"URL {shown(url)} has the path {parts.path!a}: it must be '{HTTP_PATH}' or '{REALTIME_PATH}'"
        )
    return parts, port
