"""The steps of a probe below the service's protocol: DNS, TCP and TLS, to the target or to a proxy on the way."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import SplitResult

from loadgen.client.event_client import TIMEOUT_S, look_at_the_clock
from loadgen.client.steps import StepError
from loadgen.transport import proxy
from loadgen.transport.dialing import Dialer, remote_of
from loadgen.transport.errors import TransportError
from loadgen.transport.names import loopback_addresses

_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}
EXPIRY_WARNING_DAYS: Final = 14
PROXY_ADVICE: Final = "ask who runs the proxy, or name the host in NO_PROXY, or try --no-proxy"


class Network:
    """The steps of a probe that test the network on the way to the hosts of a target's URLs.

    Each public method is a step: it returns the detail to report, or raises StepError.
    """

    def __init__(self, urls: Sequence[SplitResult], dialer: Dialer) -> None:
        self._urls, self._dialer = urls, dialer

    def dns(self) -> str:
        """Return the addresses of all hosts."""
        seen = []
        for host in dict.fromkeys(_place(url)[0] for url in self._urls):
            try:
                found = loopback_addresses(host) or tuple(
                    str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                )
            except OSError as error:
                raise StepError(
                    f"{host} has no address ({error.strerror or error})",
                    "check the URL for typing errors, and that this machine can resolve names",
                ) from None
            seen.append(f"{host} is {', '.join(dict.fromkeys(found))}")
        return "; ".join([*seen, *self._left_to_proxies()])

    def tcp(self) -> str:
        """Connect to all hosts and return the addresses that answered."""
        seen = []
        for host, port in dict.fromkeys(_place(url) for url in self._urls):
            look_at_the_clock()
            try:
                with self._dialer.connect(host, port, TIMEOUT_S) as raw:
                    remote = remote_of(raw)
            except TransportError as error:
                raise StepError(
                    f"{host}:{port} does not take connections ({_reason(error, host, port)})",
                    "check the port, that the service is running, and firewalls or proxies on the way",
                ) from None
            seen.append(f"{host}:{port}" + ("" if remote in (None, f"{host}:{port}") else f" at {remote}"))
        return "connected to " + "; ".join([" and ".join(seen), *self._left_to_proxies()])

    def tls(self) -> str:
        """Do a TLS handshake with all hosts of encrypted URLs; return the versions and how long certificates last."""
        secure = [url for url in self._urls if url.scheme in ("https", "wss")]
        if not secure:
            return "none: the target is not encrypted"
        seen = []
        for host, port, through in dict.fromkeys(
            (_host(url), _port(url), proxy.route(url.geturl())) for url in secure
        ):
            context = ssl.create_default_context()
            try:
                look_at_the_clock()
                with (
                    self._dialer.connect(host, port, TIMEOUT_S, through) as raw,
                    _blocking(context, raw, host) as wrapped,
                ):
                    certificate = wrapped.getpeercert() or {}
                    version = wrapped.version() or "TLS"
            except proxy.ProxyError as error:
                raise StepError(str(error), PROXY_ADVICE) from None
            except ssl.SSLCertVerificationError as error:
                raise StepError(
                    f"{host}: the certificate is not trusted ({error.verify_message})",
                    "name the file of a private authority with SSL_CERT_FILE, or check the host name",
                ) from None
            except (OSError, TransportError) as error:
                raise StepError(
                    f"{host}:{port} does not speak TLS ({_reason(error, host, port)})",
                    "check that the URL's scheme and port are those of the service",
                ) from None
            seen.append(f"{host} {version}, {_expiry(certificate)}")
        return "; ".join(seen)

    def _left_to_proxies(self) -> Iterator[str]:
        """Yield a phrase for each proxy that names the proxy and the targets reached through it."""
        for each in proxy.routes(*(url.geturl() for url in self._urls)):
            to = each["to"]
            assert isinstance(to, list)
            yield f"{' and '.join(to)} through the proxy {each['address']} ({each['variable']})"


def _place(url: SplitResult) -> tuple[str, int]:
    """Return the host and port that connections for a URL are opened to: the URL's own, or the proxy's."""
    through = proxy.route(url.geturl())
    return (_host(url), _port(url)) if through is None else (through.host, through.port)


def _blocking(context: ssl.SSLContext, raw: socket.socket, host: str) -> ssl.SSLSocket:
    raw.settimeout(TIMEOUT_S)
    return context.wrap_socket(raw, server_hostname=host)


def _host(url: SplitResult) -> str:
    return url.hostname or ""


def _port(url: SplitResult) -> int:
    return url.port or _DEFAULT_PORTS[url.scheme]


def _reason(error: Exception, host: str, port: int) -> str:
    """Return an error's text without the leading `host:port: `."""
    return getattr(error, "strerror", None) or str(error).removeprefix(f"{host}:{port}: ")


def _expiry(certificate: Any) -> str:
    until = certificate.get("notAfter")
    if until is None:
        return "certificate without a date"
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(until), UTC) - datetime.now(UTC)
    soon = " (soon!)" if left.days < EXPIRY_WARNING_DAYS else ""
    return f"certificate good for {left.days} days{soon}"
