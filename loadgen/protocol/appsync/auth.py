"""Credentials of a client, and the `header-` subprotocol that carries them in a WebSocket handshake.

The client calls a credential's methods for every request, since an IAM signature covers the body and a token may be
renewed.
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Final, Protocol

import msgspec

SUBPROTOCOL: Final = "aws-appsync-event-ws"
"""The subprotocol that the client offers and the server echoes (source: AWS docs)."""

HEADER_SUBPROTOCOL_PREFIX: Final = "header-"

_decode_headers = msgspec.json.Decoder(dict[str, str | Annotated[int, msgspec.Meta(ge=0, lt=2**53)]]).decode

CONNECT_BODY: Final = b"{}"
"""The body that is signed for a connect (AWS: amplify-js #14001)."""


class Credential(Protocol):
    """Authorizes a client's requests; each authorization mode has its own class."""

    def headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return the HTTP headers, without `host`, for a publish or for an upgrade without a `header-` subprotocol."""
        ...

    def connect_headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return the headers for the `header-` subprotocol; `host` is the HTTP host, not the realtime host (AWS)."""
        ...

    def frame_authorization(self, http_host: str, body: bytes | str) -> dict[str, str]:
        """Return the `authorization` of a subscribe or publish frame; a signature covers `body`."""
        ...


@dataclass(frozen=True, slots=True)
class ApiKey:
    """API key authorization; `repr` does not show the key."""

    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if not self.key or not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise ValueError(
                "the API key is empty or has characters that an HTTP header cannot hold: check its source"
            )

    def headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return `x-api-key` alone: neither host nor body is signed."""
        return {"x-api-key": self.key}

    def connect_headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return `host` and `x-api-key` (source: AWS docs)."""
        return {"host": http_host, "x-api-key": self.key}

    def frame_authorization(self, http_host: str, body: bytes | str) -> dict[str, str]:
        """Return `x-api-key` and `host`; a frame may contain `host` (source: AWS docs)."""
        return {"x-api-key": self.key, "host": http_host}


@dataclass(frozen=True, slots=True)
class BearerToken:
    """Authorization by a Cognito, OIDC or Lambda token; `token` is called for every request, as tokens are renewed."""

    token: Callable[[], str] = field(repr=False)

    def headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return the header `Authorization` (source: AWS docs)."""
        return {"Authorization": self.token()}

    def connect_headers(self, http_host: str, body: bytes | str = CONNECT_BODY) -> dict[str, str]:
        """Return `host` and `Authorization` (source: AWS docs)."""
        return {"host": http_host, "Authorization": self.token()}

    def frame_authorization(self, http_host: str, body: bytes | str) -> dict[str, str]:
        """Return `Authorization` and `host`; a frame may contain `host` (source: AWS docs)."""
        return {"Authorization": self.token(), "host": http_host}


def subscribe_body(channel: str) -> bytes:
    """Return the body that the signature of a subscribe must cover (observed on AWS)."""
    return msgspec.json.encode({"channel": channel})


def publish_body(channel: str, events: list[str]) -> bytes:
    """Return the body that the signature of a publish must cover (observed on AWS).

    It is compact JSON with the channel first, and each event is a string.
    """
    return msgspec.json.encode({"channel": channel, "events": events})


def encode_header_subprotocol(headers: dict[str, str]) -> str:
    """Return `header-` and the base64url of the headers' JSON without padding (source: AWS docs)."""
    encoded = base64.urlsafe_b64encode(msgspec.json.encode(headers)).rstrip(b"=")
    return HEADER_SUBPROTOCOL_PREFIX + encoded.decode("ascii")


def decode_header_subprotocol(subprotocol: str) -> dict[str, str]:
    """Return the headers that a `header-` subprotocol contains.

    A value may be a whole number, returned as text: some signers write `Content-Length` as a JSON number (assumption:
    AWS accepts it).

    Raises:
        ValueError: the subprotocol is not base64url of a JSON object of strings; the message never shows its content.
    """
    if not subprotocol.startswith(HEADER_SUBPROTOCOL_PREFIX):
        raise ValueError(f"the subprotocol does not begin with '{HEADER_SUBPROTOCOL_PREFIX}'")
    encoded = subprotocol.removeprefix(HEADER_SUBPROTOCOL_PREFIX).rstrip("=")
    try:
        # urlsafe_b64decode would silently skip characters outside the alphabet.
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
        return {name: str(value) for name, value in _decode_headers(raw).items()}
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise ValueError(
            "the 'header-' subprotocol is not base64url of a JSON object whose values are strings"
        ) from None
