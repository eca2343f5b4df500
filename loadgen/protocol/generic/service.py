"""A service at one address whose protocol is described by a protocol file."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote, urlsplit

import msgspec

from loadgen.protocol import unreadable
from loadgen.protocol.base import (
    ClientLogins,
    Handshake,
    HttpRequest,
    PublishAnswer,
    SessionHandler,
    TlsOptions,
)
from loadgen.protocol.generic.description import Description
from loadgen.protocol.generic.dialect import CHANNELS_KNOWN, Dialect
from loadgen.protocol.generic.frames import pieces
from loadgen.protocol.generic.login import PLACEHOLDERS, FileLogin, modes_of
from loadgen.protocol.generic.patterns import Message, Pattern, TextPattern
from loadgen.protocol.generic.session import GenericSession
from loadgen.protocol.hosts import is_loopback
from loadgen.protocol.refusals import Refusal

#: Replaces `*` in the channel of a readiness probe, the event that shows whether a wildcard subscription delivers.
PROBE_SEGMENT = "loadgen-probe"
#: The channel in a connection's URL if the client subscribes to none.
PROBE_CHANNEL = "/default/loadgen-probe"
_SCHEMES = {"http": False, "https": True, "ws": False, "wss": True}
_PORTS = {False: 80, True: 443}
_SHOWN_CHARACTERS = 200


class TargetUrlError(ValueError):
    """A URL is not a valid target URL; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """The address that ``{target}`` in a protocol file stands for, as a WebSocket URL and as an HTTP URL."""

    #: The host, the port if it is not the scheme's default, and the path without a trailing slash.
    rest: str
    hostname: str
    secure: bool

    @property
    def websocket(self) -> str:
        """The URL for connections."""
        return f"ws{'s' if self.secure else ''}://{self.rest}"

    @property
    def http(self) -> str:
        """The URL for HTTP requests."""
        return f"http{'s' if self.secure else ''}://{self.rest}"

    @property
    def loopback(self) -> bool:
        """True if the host's name is a loopback name or address."""
        return is_loopback(self.hostname)

    @property
    def address(self) -> tuple[str, int]:
        """The host in lower case, and the port."""
        port = urlsplit(self.websocket).port
        return self.hostname.lower(), port or _PORTS[self.secure]

    def demand(self, key: str, written: str) -> None:
        """Check that ``written``, the URL at ``key`` of the protocol file, has this target's host, port and security.

        Raises:
            TargetUrlError: the URL leads elsewhere.
        """
        if not written or written.startswith("{target}"):
            return
        try:
            parts = urlsplit(written)
            secure = _SCHEMES[parts.scheme]
            address = (parts.hostname or "").lower(), parts.port or _PORTS[secure], secure
        except (ValueError, KeyError):
            address = ("", 0, False)
        if address != (*self.address, self.secure) or "@" in parts.netloc or "\\" in written:
            raise TargetUrlError(
                f"{key} of the protocol file leads to {_cut(written)!a}, and the target is {self.websocket!a}:"
                " everything goes to the target's host and port; write {target} there"
            )

    @classmethod
    def parse(cls, url: str) -> "TargetUrl":
        """Parse a target's URL.

        Raises:
            TargetUrlError: the URL has an unknown scheme or no host, or holds credentials, a query or a fragment.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port
        except ValueError as error:
            raise TargetUrlError(f"the target's URL cannot be read: {error}") from None
        if "@" in parts.netloc:
            raise TargetUrlError(
                "the target's URL holds a user name or password: name an environment variable in the protocol file"
                " instead, as {env:NAME}"
            )
        shown = ascii(url.partition("?")[0].partition("#")[0])
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise TargetUrlError(
                f"the target's URL {shown} must be one such as 'ws://host:port' or 'wss://host'"
            )
        if parts.query or parts.fragment:
            raise TargetUrlError(
                f"the target's URL {shown} has a query or fragment: write it into the protocol file's connect.url"
            )
        secure = _SCHEMES[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        suffix = "" if port in (None, 443 if secure else 80) else f":{port}"
        return cls(host + suffix + parts.path.rstrip("/"), parts.hostname, secure)


class GenericService:
    """Implements `Service` for the service that a protocol file describes."""

    tls = TlsOptions()

    def __init__(self, description: Description, target: TargetUrl, environment: Mapping[str, str]) -> None:
        """``environment`` holds the variables that the protocol file names; their values are never shown.

        Raises:
            ValueError: a variable is missing.
        """
        self.description = description
        self._dialect = dialect = Dialect(description, environment)
        self._target = target
        self._connect_target = target.http if description.transport == "sse" else target.websocket
        self.connect_url = dialect.fill(description.url, self._connect_target, secrets=False)
        http = description.publish_http
        self.http_url = None if http is None else dialect.fill(http.url, target.http, secrets=False)
        self.answers_opening = any(step.expect is not None for step in description.opening)
        self.answers_subscribes = description.subscribe is None or description.subscribe.accepted is not None
        self.answers_publishes = description.publish is None or description.publish.accepted is not None
        self._body = None if http is None else dialect.frame(http.body)
        self._headers = {} if http is None else dialect.headers(http.headers)
        self._fills_headers = http is not None and any(map(_names_login, http.headers.values()))
        self._resource = self._resources()

    def for_client(self, logins: ClientLogins) -> "GenericService":
        """Return a copy of the service that logs in with one client's credentials; see `generic.login`.

        Raises:
            UnfitLoginError: a value of the credentials is not possible in a message of the opening.
            ValueError: the protocol file has no placeholders for a client's credentials.
        """
        if not modes_of(self.description.login):
            raise ValueError("a protocol file has one login for all clients")
        if logins.connect is None:
            return self
        made = copy(self)
        made._dialect = self._dialect.with_login(FileLogin(logins.connect))
        made._resource = made._resources()
        return made

    def carry_stamps(self, name: str) -> None:
        """Carry stamps in the messages' header ``name``, in both directions; see `stamped` in the protocol file."""
        self._dialect.carry_stamps(name)

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake of a client that will subscribe to ``channels``."""
        description = self.description
        names = [quote(self._dialect.wire(channel)) for channel in channels or (PROBE_CHANNEL,)]
        values = {"channel": names[0], "channels": description.join.join(names)}
        url = self._dialect.fill(description.url, self._connect_target, values)
        return Handshake(
            subprotocols=[self._dialect.text(name) for name in description.subprotocols],
            headers=self._dialect.headers(description.headers),
            binary=description.binary,
            resource=_resource_of(url),
        )

    def session(self, handler: SessionHandler, name: str = "") -> GenericSession:
        """Return a new session; ``name`` is not used."""
        return GenericSession(self._dialect, handler)

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the HTTP request that publishes a batch."""
        http, body = self.description.publish_http, self._body
        assert http is not None
        assert body is not None
        channel = self._dialect.wire(channel)
        return HttpRequest(
            body.render("", 0, channel, events), self._http_headers(), http.method, self._resource(channel)
        )

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Parse the answer to a request of `http_publish`."""
        http = self.description.publish_http
        assert http is not None
        if status not in http.expect:
            listed = " or ".join(map(str, sorted(http.expect)))
            said = self._dialect.redacted(body[: 4 * _SHOWN_CHARACTERS].decode(errors="replace"))[
                :_SHOWN_CHARACTERS
            ]
            return PublishAnswer(
                error=f"HTTP {status}, where the protocol file expects {listed}"
                + (f": {said!a}" if said else ""),
                refusal=Refusal.of(status),
            )
        if http.refused is None or not body:
            return _ACCEPTED
        try:
            reason = _refusal(http.refused, body)
        except _UNREADABLE:
            # The status says that the publish was accepted, so `error` stays unset.
            utf8 = unreadable.is_utf8(body)
            return PublishAnswer(
                unreadable=unreadable.ANSWER_UNREADABLE if utf8 else unreadable.ANSWER_NOT_UTF8
            )
        return _ACCEPTED if reason is None else PublishAnswer(error=self._dialect.redacted(reason))

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without secrets."""
        return self._dialect.shown(message)

    def channel_for(self, pattern: str) -> str:
        """Return a channel whose events a subscription to ``pattern`` receives."""
        return pattern.removesuffix("*") + PROBE_SEGMENT if pattern.endswith("/*") else pattern

    def _resources(self) -> Callable[[str], str]:
        """Return a function from a channel to the path and query of its publishes, cached unless they have a login."""
        http = self.description.publish_http
        if http is None or _names_login(http.url):
            return self._publish_resource
        return lru_cache(maxsize=CHANNELS_KNOWN)(self._publish_resource)

    def _http_headers(self) -> Mapping[str, str]:
        http = self.description.publish_http
        assert http is not None
        # Headers with a token are filled in for each request, since the token may be renewed.
        return self._dialect.headers(http.headers) if self._fills_headers else self._headers

    def _publish_resource(self, channel: str) -> str:
        assert self.description.publish_http is not None
        return _resource_of(
            self._dialect.fill(
                self.description.publish_http.url, self._target.http, {"channel": quote(channel)}
            )
        )


_ACCEPTED = PublishAnswer()
_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)


def _names_login(text: str) -> bool:
    return any(not isinstance(piece, str) and piece[0] in PLACEHOLDERS for piece in pieces(text))


def _cut(url: str) -> str:
    """Return the beginning of a URL, its scheme and host, for an error message."""
    return "/".join(url.split("/", 3)[:3])[:_SHOWN_CHARACTERS]


def _resource_of(url: str) -> str:
    """Return a URL's path and query: the request target (RFC 9112, section 3.2.1)."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _refusal(pattern: Pattern, body: Message) -> str | None:
    """Return the service's reason if an answer's body is a refusal, else None; may raise one of `_UNREADABLE`."""
    found = pattern.match(body if isinstance(pattern, TextPattern) else msgspec.json.decode(body))
    return None if found is None else found.reason or "refused, without a reason"
