"""Parse the URL of a WebSocket API."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from loadgen.protocol.api_gateway.shape import Shape
from loadgen.protocol.hosts import is_loopback
from loadgen.protocol.urls import EndpointError, in_url, port_suffix, shown, split

SCHEMES: Final = ("apigw+ws", "apigw+wss")
"""The schemes of URLs with a local or custom domain, since their host does not show that it is an API Gateway."""
_CARRIERS: Final = {
    "apigw+ws": False,
    "apigw+wss": True,
    "ws": False,
    "wss": True,
    "https": True,
    "http": False,
}
_AWS_HOST: Final = re.compile(r"[a-z0-9]+\.execute-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9_.~-]{1,128}){0,8}/?", re.ASCII)
_STAGE: Final = re.compile(r"/[A-Za-z0-9_-]{1,128}/?", re.ASCII)


def is_aws(url: str) -> bool:
    """Return True if the host of a URL is an `execute-api` host, which AWS gives to an API."""
    try:
        return _AWS_HOST.fullmatch(urlsplit(url.strip()).hostname or "") is not None
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class WebSocketUrl:
    """A parsed URL of a WebSocket API."""

    url: str
    """The given URL with its stage, without the query."""
    connect_url: str
    hostname: str
    host: str
    """The host, with the port if it is not the scheme's default, in the form that a signature covers."""
    tls: bool
    shape: Shape

    @property
    def aws(self) -> bool:
        """True if the host's name belongs to AWS; a custom domain is not recognised."""
        return _AWS_HOST.fullmatch(self.hostname) is not None

    @property
    def hostnames(self) -> tuple[str, ...]:
        """The API's host."""
        return (self.hostname,)

    @property
    def loopback(self) -> bool:
        """True if the host's name is a loopback name or address; the name is not resolved."""
        return is_loopback(self.hostname)

    @property
    def path(self) -> str:
        """The path of the WebSocket URL: the stage, or the path to which a custom domain maps the API."""
        return urlsplit(self.connect_url).path or "/"

    @property
    def http_url(self) -> str | None:
        """The URL of `@connections`, or None if the harness does not post to it because the API's backend does."""
        if self.shape.form == "backend":
            return None
        return f"http{self.connect_url.removeprefix('ws').removesuffix('/')}/@connections"

    def describe(self) -> dict[str, str | None]:
        """Return the URLs for the manifest."""
        return {"url": self.url, "http_url": self.http_url, "ws_url": self.connect_url}

    @classmethod
    def from_url(cls, url: str) -> "WebSocketUrl":
        """Parse a URL.

        Raises:
            EndpointError: the URL has an unknown scheme, no stage on AWS's domain, credentials, a fragment or an
                unknown query, or would reach AWS unencrypted.
        """
        parts, port = _split(url)
        tls = _CARRIERS[parts.scheme]
        hostname = parts.hostname or ""
        host = in_url(hostname) + port_suffix(port, tls=tls)
        aws = _AWS_HOST.fullmatch(hostname) is not None
        if aws and not tls:
            raise EndpointError(f"URL {shown(url)} is not encrypted: AWS takes 'wss://' only")
        if aws and not _STAGE.fullmatch(parts.path):
            raise EndpointError(
                f"URL {shown(url)} must end in the stage, as 'wss://<api>.execute-api.<region>.amazonaws.com/<stage>'"
            )
        if not _PATH.fullmatch(parts.path):
            raise EndpointError(
                f"URL {shown(url)} has a path that no stage has: write 'apigw+ws://<host>:<port>/<stage>'"
            )
        path = parts.path.removesuffix("/")
        try:
            shape = Shape.of(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=100))
        except ValueError as error:
            raise EndpointError(f"URL {shown(url)} {error}") from None
        return cls(
            url=f"{parts.scheme}://{host}{path}",
            connect_url=f"ws{'s' if tls else ''}://{host}{path or '/'}",
            hostname=hostname,
            host=host,
            tls=tls,
            shape=shape,
        )


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts, port = split(url, "give the login with --auth")
    known = parts.scheme in SCHEMES or (parts.scheme in _CARRIERS and is_aws(url))
    if not known or not parts.hostname or port == 0:
        raise EndpointError(
            f"URL {shown(url)} is not one of a WebSocket API: write"
            " 'wss://<api>.execute-api.<region>.amazonaws.com/<stage>', or for another domain"
            " 'apigw+ws://<host>:<port>/<stage>' or 'apigw+wss://…'"
        )
    if parts.fragment:
        raise EndpointError(f"URL {shown(url)} has a fragment ('#…'): leave it out")
    return parts, port
