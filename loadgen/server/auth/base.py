"""The interface of authorizers: the request, the identity they return, and the protocol they implement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Protocol

from loadgen.protocol.appsync.endpoints import HTTP_PATH
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace


class Operation(Enum):
    """The operation to authorize; the values are the names that a Lambda authorizer receives (AWS docs)."""

    CONNECT = "EVENT_CONNECT"
    PUBLISH = "EVENT_PUBLISH"
    SUBSCRIBE = "EVENT_SUBSCRIBE"


@dataclass(frozen=True, slots=True)
class Caller:
    """The HTTP request or WebSocket upgrade through which an operation arrived.

    `addresses`, which AWS calls `sourceIp`, are the addresses in `x-forwarded-for`, followed by that of the TCP peer.
    `host` is the `Host` header. `query` is the raw query of an HTTP request.
    """

    addresses: tuple[str, ...] = ()
    host: str = ""
    query: str = ""


UNKNOWN_CALLER: Final = Caller()


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """One operation to authorize.

    `credentials` are the HTTP headers, or the member `authorization` of a WebSocket message, with lower-case names. A
    signature must cover `path` and the bytes that `signed_body` returns. `namespace` is None for a connect and for a
    channel of an unknown namespace.
    """

    operation: Operation
    credentials: Mapping[str, str] = field(repr=False)
    signed_body: Callable[[], bytes] = field(repr=False)
    channel: str | None = None
    namespace: Namespace | None = None
    caller: Caller = UNKNOWN_CALLER
    path: str = HTTP_PATH


_NUMBER_MAX: Final = 2**53

Identity = Mapping[str, Any]
"""The requester, with the members of AWS's `ctx.identity` in the mode used; an API key has no identity (None)."""


class Authorizer(Protocol):
    """Authorizes requests in one mode; asynchronous, since a Lambda authorizer may wait for something."""

    mode: Mode

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return True if the credentials are of this authorizer's kind, valid or not."""
        ...

    async def authorize(self, request: AuthorizationRequest) -> Identity | None:
        """Return the identity of the requester, or None if the mode has none.

        Raises:
            RefusedError: the request is not authorized.
        """
        ...


def caller_of(headers: Mapping[str, str], peer: str | None, query: str = "") -> Caller:
    """Return the caller of an HTTP request with these headers; names are case-insensitive, as in aiohttp's mapping.

    `peer` is the TCP peer's address, or None if it is unknown. The caller's addresses are those in `x-forwarded-for`,
    followed by `peer` (AWS docs: `sourceIp`). The header is not verified, so a client may write any addresses into it.
    """
    forwarded = headers.get("x-forwarded-for", "").split(",")
    addresses = [text for each in forwarded if (text := each.strip()) and _can_be_written(text)]
    return Caller((*addresses, *((peer,) if peer else ())), headers.get("host", ""), query)


def credentials_from(fields: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the fields, with names in lower case, since names are case-insensitive (AWS docs).

    Whole numbers are returned as text, since some signers write `Content-Length` as a JSON number; other values are
    left out. A header with bytes that are not UTF-8 is left out, since it cannot be encoded again and is never a
    credential.
    """
    return {
        name.lower(): value if isinstance(value, str) else str(value)
        for name, value in (fields or {}).items()
        if (isinstance(value, str) and (value.isascii() or _can_be_written(value)))
        or (type(value) is int and 0 <= value < _NUMBER_MAX)
    }


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
