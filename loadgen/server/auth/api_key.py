"""Authorization by API key."""

import hmac
from collections.abc import Iterable, Mapping
from http import HTTPStatus

from loadgen.protocol.appsync.errors import UNAUTHORIZED
from loadgen.server.auth.base import AuthorizationRequest
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError


class ApiKeyAuthorizer:
    """Allows every request that has one of the keys in `x-api-key`."""

    mode = Mode.API_KEY

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return True if there is an `x-api-key`, valid or not."""
        return "x-api-key" in credentials

    async def authorize(self, request: AuthorizationRequest) -> None:
        """Compare the key in constant time; raises RefusedError if it is not one of the accepted keys."""
        given = request.credentials.get("x-api-key", "").encode(errors="surrogatepass")
        # Compare every key, so that the time does not reveal which one matched.
        if not sum(hmac.compare_digest(given, key) for key in self._keys):
            raise RefusedError(UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)
