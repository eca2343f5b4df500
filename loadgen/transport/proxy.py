"""Forward proxies: choose the proxy for a connection; `tunnel` opens a tunnel through it.

Every WebSocket and HTTP connection to a target uses a CONNECT tunnel, with or without TLS, so that the proxy passes the
bytes on unchanged. The proxy comes from the environment variables that curl and most other programs read: `HTTPS_PROXY`
for https and wss, `HTTP_PROXY` for http and ws, `ALL_PROXY` if that variable is not set, and `NO_PROXY` for hosts that
are reached directly. Loopback never goes through a proxy. Neither do plain byte streams (MQTT over TCP), since the
variables are about HTTP.

RFC 9110, 11.7.2 (Proxy-Authorization); RFC 7617 (Basic).
"""

import base64
import ipaddress
import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

import gevent
import gevent.socket

from loadgen.protocol.hosts import is_loopback
from loadgen.transport.errors import TransportError

#: For each scheme, true if its connections use HTTPS_PROXY, false if they use HTTP_PROXY.
_SCHEMES: Final = {"https": True, "wss": True, "http": False, "ws": False}
_PORTS: Final = {"https": 443, "wss": 443, "http": 80, "ws": 80}
#: Names of the environment variables that configure proxies; the lower-case names are read too.
VARIABLES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
#: Environment variable that web servers set for CGI programs. In these, HTTP_PROXY holds the `Proxy:` header of the
#: request, which a client chooses (CVE-2016-5385).
CGI: Final = "REQUEST_METHOD"
#: Time limit for resolving a host's name, which shows whether the host is loopback.
_LOOKUP_S: Final = 2.0
_HOST = re.compile(r"[0-9A-Za-z._-]+", re.ASCII)


class ProxySettingError(TransportError):
    """The environment names a proxy that cannot be used; the one-sentence message never shows the proxy's login."""


class ProxyError(TransportError):
    """The proxy could not be reached, refused, or did not answer with HTTP/1.1; the target was not reached."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that speaks HTTP/1.1 without TLS."""

    host: str
    port: int
    variable: str
    """Environment variable that names the proxy, in upper or lower case as it was found."""
    login: str | None = field(default=None, repr=False)
    """Value of the Proxy-Authorization header (a secret), or None if the proxy needs no login."""

    @property
    def name(self) -> str:
        """Host and port for messages, without the login."""
        return authority_of(self.host, self.port)

    def describe(self) -> dict[str, str | bool]:
        """Return the proxy's entry in the manifest, without the login."""
        return {"address": self.name, "variable": self.variable, "login": self.login is not None}

    def headers(self) -> dict[str, str]:
        """Return the headers to send to the proxy: the login (a secret), if there is one."""
        return {} if self.login is None else {"proxy-authorization": self.login}


def named(target: str, proxy: Proxy | None) -> str:
    """Return a target's name for error messages, with the proxy if there is one."""
    return target if proxy is None else f"{target} (through the proxy {proxy.name})"


def choose(url: str, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that ``environment`` sets for connections to a URL, or None if they go directly.

    A lower-case variable takes precedence over the upper-case one, as in curl, and an empty variable counts as unset.
    Upper-case HTTP_PROXY is ignored in a CGI program. No name is resolved here: only loopback addresses and names under
    `localhost` are recognised as this machine; see :func:`route`.

    Raises:
        ProxySettingError: the named proxy is of an unsupported kind, or its URL cannot be parsed.
    """
    scheme, _, _ = url.partition("://")
    if scheme not in _SCHEMES:
        return None
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS[scheme]
    if is_loopback(host.lower()):
        return None
    _, without = _variable("no_proxy", environment)
    if bypasses(host, port, without):
        return None
    for name in ("https_proxy" if _SCHEMES[scheme] else "http_proxy", "all_proxy"):
        variable, value = _variable(name, environment)
        if value:
            return _read(variable, value)
    return None


def bypasses(host: str, port: int, no_proxy: str) -> bool:
    """Return True if the NO_PROXY list ``no_proxy`` contains a host.

    Its entries are separated by commas or spaces: `*` for all hosts, a host name or a domain above it (with or without
    a leading dot), an IP address, or a network such as 10.0.0.0/8. A name or an address may have a port.
    """
    name = host.lower().rstrip(".")
    address = _address(name)
    for written in re.split(r"[,\s]+", no_proxy):
        entry = written.lower()
        if entry == "*":
            return True
        if "/" in entry:
            with suppress(ValueError):
                if address is not None and address in ipaddress.ip_network(entry, strict=False):
                    return True
            continue
        entry, its_port = _split_port(entry)
        if its_port is not None and its_port != port:
            continue
        if address is not None:
            if _address(entry) == address:
                return True
            continue
        entry = entry.removeprefix("*").removeprefix(".").rstrip(".")
        if entry and (name == entry or name.endswith("." + entry)):
            return True
    return False


#: True if this process ignores the proxy variables.
_off = False


def switch_off(off: bool = True) -> None:
    """Make all later connections of this process go directly, as `--no-proxy` asks."""
    global _off
    _off = off


def is_off() -> bool:
    """Return True if this process ignores the proxy variables."""
    return _off


def route(url: str) -> Proxy | None:
    """Return the proxy for connections of this process to a URL, or None if they go directly.

    Applies `choose` to this process's environment. Names that resolve only to loopback on this machine go directly
    too. May block the calling greenlet for up to 2 s the first time it sees a name.

    Raises:
        ProxySettingError: see :func:`choose`.
    """
    if _off:
        return None
    known = {
        name: os.environ[name] for each in VARIABLES for name in (each, each.lower()) if name in os.environ
    }
    if not known:
        return None
    if CGI in os.environ:
        known[CGI] = ""
    proxy = choose(url, known)
    if proxy is None or _leads_to_loopback(urlsplit(url).hostname or ""):
        return None
    return proxy


def routes(*urls: str | None) -> list[dict[str, object]]:
    """Return the manifest's list of proxies, each with the URLs (scheme, host, port) reached through it.

    Raises:
        ProxySettingError: see :func:`choose`.
    """
    found: dict[Proxy, list[str]] = {}
    for url in urls:
        if url is not None and (proxy := route(url)) is not None:
            parts = urlsplit(url)
            port = parts.port or _PORTS[parts.scheme]
            found.setdefault(proxy, []).append(f"{parts.scheme}://{authority_of(parts.hostname or '', port)}")
    return [{**proxy.describe(), "to": sorted(set(to))} for proxy, to in found.items()]


def sentence(routed: list[dict[str, object]]) -> str:
    """Return the notice for the start of a run, given the result of `routes`; empty if no proxy is used."""
    return "; ".join(
        f"connections to {' and '.join(map(str, each['to']))} go through the proxy {each['address']}"
        f" ({each['variable']}); --no-proxy goes directly"
        for each in routed
        if isinstance(each["to"], list)
    )


@lru_cache(maxsize=256)
def _leads_to_loopback(host: str) -> bool:
    """Return True if a name resolves only to loopback here, as a name from /etc/hosts may."""
    if _address(host) is not None:
        return False
    with suppress(OSError, UnicodeError, gevent.Timeout), gevent.Timeout(_LOOKUP_S):
        found = gevent.socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        return bool(found) and all(is_loopback(str(entry[4][0])) for entry in found)
    return False


def _variable(name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the name of a variable in the case in which it is set, and its value, which is empty if it is not set."""
    for written in (name, name.upper()):
        value = environment.get(written, "").strip()
        if value and not (written == "HTTP_PROXY" and CGI in environment):
            return written, value
    return name.upper(), ""


def _read(variable: str, value: str) -> Proxy:
    """Parse a variable's value as a proxy; errors never show the value, which may hold a login."""
    scheme, separator, _ = value.partition("://")
    scheme = scheme.lower() if separator else "http"
    if scheme != "http":
        kind = scheme if re.fullmatch(r"[a-z][a-z0-9+.-]{0,20}", scheme) else "an unknown kind"
        raise ProxySettingError(
            f"{variable} names a proxy of the kind {kind}, which is not supported: only HTTP proxies (http://HOST:PORT)"
            " are; name one, or go directly with --no-proxy or NO_PROXY"
        )
    wrong = ProxySettingError(
        f"{variable} names no proxy that can be read: write http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT, with"
        " special characters of the login as %40 for @"
    )
    try:
        parts = urlsplit(value if separator else f"http://{value}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise wrong from None
    address = _address(host)
    known = _HOST.fullmatch(host) or (address is not None and ":" in host)
    # Check `isprintable`, since `urlsplit` silently drops line ends.
    if (
        not value.isprintable()
        or not known
        or port == 0
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise wrong
    login = None
    if parts.username is not None:
        pair = unquote_to_bytes(parts.username) + b":" + unquote_to_bytes(parts.password or "")
        login = f"Basic {base64.b64encode(pair).decode('ascii')}"
    return Proxy(host, port or 80, variable, login)


def authority_of(host: str, port: int) -> str:
    """Return `host:port` as in a URL."""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse a host as an IP address (IPv4-mapped IPv6 becomes IPv4); return None if it is a name."""
    try:
        found = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split a NO_PROXY entry into (host, port); the port is None if the entry has none."""
    if _address(entry) is not None:
        return entry, None
    host, colon, port = entry.rpartition(":")
    return (
        (host, int(port)) if colon and port.isascii() and port.isdigit() and len(port) <= 5 else (entry, None)
    )
