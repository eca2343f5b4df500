"""A WebSocket API as a target: implements the interface of `loadgen.protocol.base`."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from loadgen.protocol import unreadable
from loadgen.protocol.api_gateway.endpoints import WebSocketUrl
from loadgen.protocol.api_gateway.limits import FRAME_MAX_BYTES
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.base import ClientLogins, Handshake, HttpRequest, PublishAnswer
from loadgen.protocol.generic.dialect import Dialect
from loadgen.protocol.generic.frames import Frame
from loadgen.protocol.generic.service import GenericService, TargetUrl
from loadgen.protocol.refusals import Kind, Refusal, of_answer

if TYPE_CHECKING:
    from loadgen.protocol.appsync.sigv4 import IamSignature

UNKNOWN: Final = "AAAAAAAAAAAAAAA="
"""A connection id that does not exist, in the service's form; used if this process does not know the real id."""

_SEARCHED_BYTES: Final = 64 * 1024
_ACCEPTED: Final = PublishAnswer()
_GONE: Final = Refusal(
    Kind.DENIED, "run it in one worker process, and see in the report when connections were lost"
)
_NOTHING_SENT: Final[Mapping[str, str]] = {}


class LoginDialect(Dialect):
    """A dialect that also hides the credentials last sent, wherever a message of the service repeats them."""

    #: The secrets that were sent last, by the names of their headers or parameters.
    sent: Mapping[str, str] = _NOTHING_SENT

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, truncated, and without the login's secrets."""
        return unreadable.shown(message, [(secret, unreadable.HIDDEN) for secret in self._forms()])

    def redacted(self, text: str) -> str:
        """Return a text of the service, truncated and without the login's secrets."""
        for secret in self._forms():
            text = text.replace(secret, unreadable.HIDDEN)
        return unreadable.cut(text)

    def _forms(self) -> list[str]:
        """Return the forms in which a service may repeat a secret, the longest first."""
        # The service may repeat only the token of `Bearer TOKEN`.
        values = {part for value in self.sent.values() for part in (value, value.rpartition(" ")[2])}
        forms = {form for value in values for form in (value, quote(value, safe=""), _in_json(value))}
        return sorted(forms - {""}, key=len, reverse=True)


def _in_json(text: str) -> str:
    return msgspec.json.encode(text).decode()[1:-1]


class ApiGatewayService(GenericService):
    """Implements `Service` for a WebSocket API and a login.

    The login authorizes the whole connection: `$connect` is the only route that API Gateway authorizes.
    """

    def __init__(
        self, target: WebSocketUrl, login: "ApiKey | BearerToken | IamSignature | None" = None
    ) -> None:
        """Without ``login`` the client is anonymous (authorization NONE).

        Raises:
            ValueError: events are to be sent to `@connections` of AWS without a signature.
        """
        if target.aws and target.http_url is not None and isinstance(login, ApiKey | BearerToken | None):
            raise ValueError(
                "form=connections posts to @connections, which AWS lets nobody do unsigned: give --auth iam"
            )
        #: The ids of connections by channel, for `form=connections`; all clients of the process share them.
        self._addresses: dict[str, str] = {}
        description = target.shape.description(target.connect_url, self._addresses)
        super().__init__(description, TargetUrl.parse(target.connect_url), {})
        self._dialect: LoginDialect = LoginDialect(description, {})
        self.http_url = target.http_url
        self._delivery = Frame(target.shape.delivery(), {})
        self._api = target
        self._login = login

    def for_client(self, logins: ClientLogins) -> "ApiGatewayService":
        """Return a copy of the service that uses one client's login and shares everything else with this service."""
        made = copy(self)
        if logins.connect is not None:
            made._login = logins.connect
            # Each client needs its own copy: the dialect hides only the secrets that were sent last through it.
            made._dialect = copy(self._dialect)
            made._dialect.sent = _NOTHING_SENT
        return made

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake: the login's headers, and the size of the frames (32 KB) into which messages are cut."""
        headers: Mapping[str, str] = {}
        resource, login, shape = self._api.path, self._login, self._api.shape
        sent: Mapping[str, str] | None = None
        if isinstance(login, ApiKey):
            headers = login.headers(self._api.host)
        elif isinstance(login, BearerToken):
            sent = {shape.token_name: login.token()}
            if shape.token_in == "header":  # noqa: S105  a place
                headers = sent
            else:
                (name, token), *_ = sent.items()
                resource += f"?{quote(name, safe='')}={quote(token, safe='')}"
        elif login is not None:
            # Imported late: botocore takes long to load.
            from loadgen.protocol.api_gateway.signing import signed_headers

            headers = signed_headers(login, "GET", self._api.host, resource)
        self._dialect.sent = headers if sent is None else sent
        return Handshake(headers=headers, resource=resource, most_frame_bytes=FRAME_MAX_BYTES)

    def http_publish(self, channel: str, events: Sequence[str]) -> HttpRequest:
        """Return the POST of one event to the connection that subscribed to a channel.

        If no client of this process has subscribed to it, the request names a connection that does not exist.
        """
        channel = self._dialect.wire(channel)
        body = self._delivery.render("", 0, channel, events)
        address = quote(self._addresses.get(channel, UNKNOWN), safe="")
        resource = f"{self._api.path.removesuffix('/')}/@connections/{address}"
        headers: Mapping[str, str] = {}
        login = self._login
        if isinstance(login, ApiKey):
            headers = {"Authorization": f"Bearer {login.key}"}
        elif isinstance(login, BearerToken):
            headers = {"Authorization": f"Bearer {login.token()}"}
        elif login is not None:
            from loadgen.protocol.api_gateway.signing import signed_headers

            headers = signed_headers(login, "POST", self._api.host, resource, body)
        self._dialect.sent = headers
        return HttpRequest(body, headers, resource=resource)

    def http_answer(self, status: int, body: bytes) -> PublishAnswer:
        """Parse the answer to a POST to `@connections`."""
        if status == 200:
            return _ACCEPTED
        what, refusal = of_answer(status, {}, body[:_SEARCHED_BYTES])
        if status == 410:
            what += ": the connection is gone, or its client is not of this worker process"
            refusal = _GONE
        return PublishAnswer(error=what, refusal=refusal)
