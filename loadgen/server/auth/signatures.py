"""Read and recompute a Signature Version 4, in the forms that clients of AppSync Events write it.

Clients agree on the algorithm and differ in the headers that they sign and send. AWS's documentation of the algorithm
requires only `host` and the `x-amz-` headers among the signed ones; AWS's clients sign more, and others less:

- The time is in the string to sign, so `x-amz-date` need not be among the signed headers (the client
  auvred/aws-appsync-events, whose tests run on AWS, leaves it out). `Date` may take its place (AWS: Signature Version
  4).
- Some clients sign the HTTP request's `content-length` too (aws-sdk-go-v2). The `authorization` of a WebSocket frame
  does not contain that header, so its value is computed from the body, like that of `x-amz-content-sha256` (assumption:
  AWS does the same).
- JavaScript clients sign the host name without its port, others sign it with `:443`. On AWS the port is always 443.
  Here all spellings of a host are the same (assumption).
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Self
from urllib.parse import quote, unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from loadgen.protocol.appsync.endpoints import HTTP_PATH

ALGORITHM: Final = "AWS4-HMAC-SHA256"

_PARTS: Final = {
    "Credential": re.compile(
        r"(?P<key>[\w-]{1,128})/(?P<date>\d{8})/(?P<region>[a-z0-9-]{1,64})/(?P<service>[a-z0-9-]{1,64})"
        r"/aws4_request",
        re.ASCII,
    ),
    "SignedHeaders": re.compile(r"[a-z0-9;_-]{1,2048}", re.ASCII),
    "Signature": re.compile(r"[0-9a-f]{64}", re.ASCII),
}
_AUTHORIZATION_MAX_CHARACTERS: Final = 4096
_TIMESTAMP: Final = "%Y%m%dT%H%M%SZ"
_CONTENT_HASH: Final = "x-amz-content-sha256"
_CONTENT_LENGTH: Final = "content-length"
_HOST: Final = re.compile(r"(?P<name>\[[^\]]*\]|[^:]*)(?::(?P<port>\d{1,5}))?")


class SignatureError(ValueError):
    """A signature is malformed, or lacks a part that is needed to recompute it."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The parts of an `Authorization` header of AWS Signature Version 4."""

    key: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    value: str = field(repr=False)

    @classmethod
    def read(cls, authorization: str) -> Self:
        """Return the parts of the `authorization` header, which may be in any order and separated by any white space.

        Raises:
            SignatureError: the header names another algorithm, or a part is missing, repeated or malformed.
        """
        algorithm, _, rest = authorization.partition(" ")
        if algorithm != ALGORITHM or len(authorization) > _AUTHORIZATION_MAX_CHARACTERS:
            raise SignatureError
        found: dict[str, re.Match[str]] = {}
        for part in rest.split(","):
            name, _, text = part.strip().partition("=")
            form = _PARTS.get(name)
            match = form.fullmatch(text.strip()) if form is not None and name not in found else None
            if match is None:
                raise SignatureError
            found[name] = match
        if found.keys() != _PARTS.keys():
            raise SignatureError
        scope = found["Credential"].groupdict()
        return cls(**scope, headers=tuple(found["SignedHeaders"][0].split(";")), value=found["Signature"][0])


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request in the form that its signature covers.

    `headers` are the received ones, with lower-case names. `query` is not decoded, `connection_host` is the
    connection's `Host`, and `path` is the path that the client has to sign.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    query: str = ""
    connection_host: str = ""
    path: str = HTTP_PATH

    def time(self) -> datetime:
        """Return the time of the signature, from `x-amz-date` or else `date`.

        Raises:
            SignatureError: neither header has a time in a form that SigV4 allows.
        """
        written = (self.headers.get("x-amz-date") or self.headers.get("date", "")).strip()
        try:
            return datetime.strptime(written, _TIMESTAMP).replace(tzinfo=UTC)
        except ValueError:
            pass
        try:
            moment = parsedate_to_datetime(written)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise SignatureError from None

    def signatures(self, signed: Signature, secret: str) -> Iterator[tuple[str, str]]:
        """Yield (canonical request, its signature by the secret) for each spelling of the host, the received one first.

        Raises:
            SignatureError: `host` is not signed, a signed header is missing, or the content hash is not the body's.
        """
        headers = self._signed_headers(signed.headers)
        timestamp = self.time().strftime(_TIMESTAMP)
        query = canonical_query(self.query)
        url = f"https://localhost{self.path}" + (f"?{query}" if query else "")
        signer: Any = _Verifier(Credentials("", secret), signed.service, signed.region)
        signer.key = signed.key
        for host in spellings(headers["host"], self.connection_host):
            request = AWSRequest("POST", url, data=self.body, headers={**headers, "host": host})
            request.context["timestamp"] = timestamp
            canonical: str = signer.canonical_request(request)
            yield canonical, signer.signature(signer.string_to_sign(request, canonical), request)

    def _signed_headers(self, names: tuple[str, ...]) -> dict[str, str]:
        digest = hashlib.sha256(self.body).hexdigest()
        known = {_CONTENT_LENGTH: str(len(self.body)), _CONTENT_HASH: digest, **self.headers}
        if known[_CONTENT_HASH] != digest:
            # botocore signs the value of `x-amz-content-sha256` as the body's hash. Without this check, a signature of
            # another body would pass.
            raise SignatureError
        if "host" not in names or any(name not in known for name in names):
            raise SignatureError
        return {name: known[name] for name in names}


def spellings(host: str, connection_host: str = "") -> list[str]:
    """Return the spellings of a host that a signer may have seen: with and without the port, in lower case.

    A host without a port gets the connection's port, or else 443, the only one on AWS.
    """
    parts = _HOST.fullmatch(host)
    if parts is None:
        return [host]
    connected = _HOST.fullmatch(connection_host)
    port = parts["port"] or (connected["port"] if connected is not None else None) or "443"
    written = [host, parts["name"], f"{parts['name']}:{port}"]
    return list(dict.fromkeys([*written, *(text.lower() for text in written)]))


def canonical_query(raw: str) -> str:
    """Return a query with canonically encoded parameters, sorted by name and value (AWS: Signature Version 4)."""
    pairs = [pair.partition("=") for pair in raw.split("&") if pair]
    return "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs))


def _encoded(text: str) -> str:
    return quote(unquote(text, errors="replace"), safe="-_.~")


class _Verifier(SigV4Auth):  # type: ignore[misc]
    """botocore's signer, changed to sign only the headers that the client has signed."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers
