"""Who may connect, publish and subscribe: one class for each authorization mode."""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from loadgen.protocol.appsync.errors import UNAUTHORIZED, WireError
from loadgen.server.namespaces import Namespace


class Operation(Enum):
    """What is asked for, with the name that a Lambda authorizer is told (doc)."""

    CONNECT = "EVENT_CONNECT"
    PUBLISH = "EVENT_PUBLISH"
    SUBSCRIBE = "EVENT_SUBSCRIBE"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One question to an authorizer.

    `credentials` are headers or the `authorization` of a frame, names in lower case. `namespace` is None on
    connect and where the channel names none that exists. `signed_body` returns what a signature has to
    cover.
    """

    operation: Operation
    credentials: Mapping[str, str] = field(repr=False)
    signed_body: Callable[[], bytes] = field(repr=False)
    channel: str | None = None
    namespace: Namespace | None = None


class Authorizer(Protocol):
    """Decides on requests; asynchronous, since some modes ask another service."""

    async def authorize(self, request: AuthorizationRequest) -> WireError | None:
        """Return why the request is refused, or None if it is allowed."""
        ...


class ApiKeyAuthorizer:
    """Allows every operation that carries one of the keys as `x-api-key`."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = [key.encode() for key in keys]

    async def authorize(self, request: AuthorizationRequest) -> WireError | None:
        """Compare in constant time; a missing key is answered as a wrong one (inf)."""
        given = request.credentials.get("x-api-key", "").encode(errors="surrogateescape")
        return None if any(hmac.compare_digest(given, key) for key in self._keys) else UNAUTHORIZED


def credentials_from(fields: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the text fields with their names in lower case (doc: names are case-insensitive)."""
    return {name.lower(): value for name, value in (fields or {}).items() if isinstance(value, str)}
