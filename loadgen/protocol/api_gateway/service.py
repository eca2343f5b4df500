"""A WebSocket API as a target: implements the interface of `loadgen.protocol.base`."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from loadgen.protocol import unreadable
from loadgen.protocol.api_gateway.endpoints import WebSocketUrl
from loadgen.protocol.api_gateway.limits import FRAME_MAX_BYTES
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.base import ClientLogins, Handshake
from loadgen.protocol.generic.service import GenericService, TargetUrl

if TYPE_CHECKING:
    from loadgen.protocol.appsync.sigv4 import IamSignature

Login = "ApiKey | BearerToken | IamSignature | None"
_NOTHING_SENT: Final[Mapping[str, str]] = {}


class ApiGatewayService(GenericService):
    """Implements `Service` for a WebSocket API and a login.

    The login authorizes the whole connection: `$connect` is the only route that API Gateway authorizes.
    """

    def __init__(
        self, target: WebSocketUrl, login: "ApiKey | BearerToken | IamSignature | None" = None
    ) -> None:
        """Without ``login`` the client is anonymous (authorization NONE)."""
        super().__init__(
            target.shape.description(target.connect_url), TargetUrl.parse(target.connect_url), {}
        )
        self._api = target
        self._login = login
        #: The authorization of the last connection, by name of header: it must be hidden if the service echoes it.
        self._sent = _NOTHING_SENT

    def for_client(self, logins: ClientLogins) -> "ApiGatewayService":
        """Return a copy of the service that uses one client's login and shares everything else with this service."""
        made = copy(self)
        if logins.connect is not None:
            made._login = logins.connect
        made._sent = _NOTHING_SENT
        return made

    def handshake(self, channels: Sequence[str] = ()) -> Handshake:
        """Return the handshake, which authorizes the connection; long messages go in frames of 32 KB."""
        headers: Mapping[str, str] = {}
        resource, login, shape = self._api.path, self._login, self._api.shape
        if isinstance(login, ApiKey):
            headers = self._sent = login.headers(self._api.host)
        elif isinstance(login, BearerToken):
            token = login.token()
            self._sent = {shape.token_name: token}
            if shape.token_in == "header":  # noqa: S105  a place
                headers = self._sent
            else:
                resource += f"?{quote(shape.token_name, safe='')}={quote(token, safe='')}"
        elif login is not None:
            # Imported late: botocore takes long to load.
            from loadgen.protocol.api_gateway.signing import signed_headers

            headers = self._sent = signed_headers(login, "GET", self._api.host, resource)
        return Handshake(headers=headers, resource=resource, most_frame_bytes=FRAME_MAX_BYTES)

    def shown(self, message: bytes | bytearray | memoryview) -> str:
        """Return a message of the service for display: escaped, cut, and without the login's secrets."""
        secrets = [
            (form, unreadable.HIDDEN)
            for value in self._sent.values()
            for form in (value, quote(value, safe=""), value.rpartition(" ")[2])
        ]
        return unreadable.shown(message, secrets)
