"""What an authorizer is asked, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from loadgen.server.modes import Mode
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


Identity = Mapping[str, Any]
"""Who asks, in the members that AWS gives `ctx.identity` in that mode; None for an API key, which names nobody."""


class Authorizer(Protocol):
    """Decides on requests in one mode; asynchronous, since some modes ask somebody else."""

    mode: Mode

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return whether the credentials are of this authorizer's kind, good or not."""
        ...

    async def authorize(self, request: AuthorizationRequest) -> Identity | None:
        """Return who asks.

        Raises:
            RefusedError: they may not.
        """
        ...


def credentials_from(fields: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the text fields with their names in lower case (doc: names are case-insensitive).

    A header whose bytes are not UTF-8 comes as a text that cannot be written again: none of those is a credential.
    """
    return {
        name.lower(): value
        for name, value in (fields or {}).items()
        if isinstance(value, str) and (value.isascii() or _can_be_written(value))
    }


def _can_be_written(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
