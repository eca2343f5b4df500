"""Guard the web servers of a run: Locust's UI with the harness's routes, and the endpoint for Prometheus.

A browser sends requests on behalf of any page that it shows, so a port on the loopback interface is open to every
website that the user visits. :class:`Entry` wraps the whole WSGI application: it guards every route, file and error
page.
"""

import hmac
import ipaddress
import os
import re
import secrets
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from werkzeug.http import parse_cookie

from loadgen.console import say
from loadgen.exits import ExitCode, RunError

#: Environment variable that sets the token in advance; without it, each process makes a new one.
TOKEN_VARIABLE: Final = "LOADGEN_WEB_TOKEN"  # noqa: S105  a name
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)
_PARAMETER: Final = "token"
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.ASCII)
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: Addresses by which Locust and gevent mean all interfaces.
WILDCARDS: Final = frozenset({"", "*", "0.0.0.0", "::"})  # noqa: S104  only compared with
_HEADERS: Final = (
    ("X-Frame-Options", "SAMEORIGIN"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
#: Number of distinct refusals that are printed on the terminal, each once.
_TOLD_MAX: Final = 10

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class Hosts:
    """The host names under which a server answers. Requests for other names may be DNS rebinding attacks."""

    def __init__(self, bound: str, given: Iterable[str] = ()) -> None:
        """Allow the address ``bound``, on which the server listens, and the further names ``given``.

        Raises:
            RunError: a given name is not a host name; exit code 2.
        """
        bound = bound.strip("[]").lower()
        self._any_address = bound in WILDCARDS
        names = {_plain(name) for name in given}
        if self._any_address or bound == "localhost" or _loopback(bound):
            names |= _LOOPBACK_NAMES
        if bound:
            names.add(f"[{bound}]" if ":" in bound else bound)
        self._names = frozenset(names)

    def __contains__(self, header: str) -> bool:
        """Return True if a Host header names this server; any port is accepted, as it may be a forwarded one."""
        matched = _HOST.fullmatch(header)
        if matched is None:
            return False
        host = matched[1].lower().removesuffix(".")
        # An IP address as the host is safe: an attack by DNS rebinding needs a host name.
        return host in self._names or (self._any_address and _address(host.strip("[]")) is not None)


class Entry:
    """WSGI middleware that refuses requests for another host, from another origin, or without the token if one is set.

    The token may come in the URL (`?token=`), in a cookie, or in an `Authorization: Bearer` header. A request with the
    token in its URL is answered with the cookie and a redirect to the URL without the token.
    """

    def __init__(
        self, application: Application, hosts: Hosts, what: str, token: str | None = None, cookie: str = ""
    ) -> None:
        """Wrap ``application``; ``what`` names the server in printed messages.

        ``cookie`` is the name of the cookie; it must differ between ports, as a cookie applies to all ports of a host.
        """
        self._application = application
        self._hosts = hosts
        self._what = what
        self._token = token
        self._cookie = cookie
        self._told: set[str] = set()

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answer 403, redirect, or pass the request to the application."""
        refused = self._foreign(environ)
        if refused is not None:
            self._tell(refused)
            return _answer(start_response, HTTPStatus.FORBIDDEN, refused)
        if self._token is not None:
            rest, shown = _parted(environ.get("QUERY_STRING", ""))
            if shown is not None and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
                if self._is_token(shown):
                    return self._admit(environ, start_response, rest)
            elif self._has_token(environ):
                return self._serve(environ, start_response)
            return _answer(
                start_response,
                HTTPStatus.FORBIDDEN,
                "this page needs the token of its run: open the whole address that was printed when the run's"
                f" process started; it ends in ?{_PARAMETER}=…",
            )
        return self._serve(environ, start_response)

    def _foreign(self, environ: dict[str, Any]) -> str | None:
        """Return why the host or origin of a request is not accepted, or None if both are."""
        host = environ.get("HTTP_HOST", "")
        if host not in self._hosts:
            return (
                f"a request was refused: it asked for the host {host[:100]!a}, which is not this server's address;"
                " allow a name with --allowed-host NAME"
            )
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return f"a request was refused: it came from a page of {origin[:100]!a}"
        site = environ.get("HTTP_SEC_FETCH_SITE", "none")
        # A link from another site, such as a web mail, may lead here. All other requests that pages of other sites make
        # are refused.
        link = (
            environ["REQUEST_METHOD"] == "GET"
            and environ.get("HTTP_SEC_FETCH_MODE") == "navigate"
            and environ.get("HTTP_SEC_FETCH_DEST") == "document"
        )
        if site not in ("none", "same-origin") and not link:
            return "a request was refused: it came from a page of another origin"
        return None

    def _has_token(self, environ: dict[str, Any]) -> bool:
        scheme, _, credentials = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "bearer" and self._is_token(credentials.strip()):
            return True
        return any(self._is_token(value) for value in parse_cookie(environ).getlist(self._cookie))

    def _is_token(self, given: str) -> bool:
        assert self._token is not None
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token.encode())

    def _admit(
        self, environ: dict[str, Any], start_response: StartResponse, rest: list[tuple[str, str]]
    ) -> Iterable[bytes]:
        """Answer with the cookie and a redirect to the URL without the token."""
        path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
        # Two slashes at the start would redirect to another host.
        where = f"/{quote(path.encode('latin-1', 'replace')).lstrip('/')}"
        if rest:
            where += f"?{urlencode(rest)}"
        secure = "; Secure" if environ.get("wsgi.url_scheme") == "https" else ""
        cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        headers = [("Location", where), ("Set-Cookie", cookie), ("Cache-Control", "no-store")]
        return _answer(start_response, HTTPStatus.SEE_OTHER, where, headers)

    def _serve(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        def respond(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            given = {name.lower() for name, _ in _HEADERS}
            kept = [
                (name, value)
                for name, value in headers
                if name.lower() not in given and not name.lower().startswith("access-control-")
            ]
            return start_response(status, [*kept, *_HEADERS], *more)

        return self._application(environ, respond)

    def _tell(self, refused: str) -> None:
        if refused not in self._told and len(self._told) < _TOLD_MAX:
            self._told.add(refused)
            say(f"{self._what}: {refused}")


def token_of_environment() -> tuple[str, bool]:
    """Return (token, True if it is from the environment); remove it there, so that child processes do not see it.

    Raises:
        RunError: the given token is too short or too long, or has characters other than letters, digits, - and _;
            exit code 2.
    """
    given = os.environ.pop(TOKEN_VARIABLE, None)
    if given is None:
        return secrets.token_urlsafe(24), False
    if _TOKEN.fullmatch(given) is None:
        raise RunError(
            f"{TOKEN_VARIABLE} is not a valid token: use 16 to 200 letters, digits, - or _, such as the output of"
            " `openssl rand -hex 16`",
            ExitCode.USAGE,
        )
    return given, True


def _answer(
    start_response: StartResponse, status: HTTPStatus, text: str, headers: Iterable[tuple[str, str]] = ()
) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    kind = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(f"{status.value} {status.phrase}", [*kind, ("Connection", "close"), *headers, *_HEADERS])
    return [body]


def _parted(query: str) -> tuple[list[tuple[str, str]], str | None]:
    """Return the parameters of a query without the token, and the token, or None if there is none."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return [], None
    tokens = [value for name, value in pairs if name == _PARAMETER]
    return [pair for pair in pairs if pair[0] != _PARAMETER], tokens[-1] if tokens else None


def _plain(name: str) -> str:
    matched = _HOST.fullmatch(name)
    if matched is None or matched[0] != matched[1]:
        raise RunError(
            f"--allowed-host: {name[:100]!a} is not a host name: write it as it stands in the address bar, without"
            " scheme and port, as load.example.com",
            ExitCode.USAGE,
        )
    return name.lower().removesuffix(".")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _loopback(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback
