"""The authorization of `$connect`, and of requests to `@connections`."""

import csv
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from loadgen.protocol.api_gateway.signing import SERVICE
from loadgen.stand_ins.options import OptionError

_SKEW_MAX: Final = timedelta(minutes=5)
_SIGNATURE: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[\w-]{1,128})/(?P<date>\d{8})/(?P<region>[a-z0-9-]{1,64})/"
    r"(?P<service>[a-z0-9-]{1,64})/aws4_request,\s*SignedHeaders=(?P<headers>[a-z0-9;-]{1,2048}),\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_BEARER: Final = "bearer "


class RefusedError(Exception):
    """A request is not authorized; ``status`` is 401 without a credential, and 403 for a wrong one."""

    def __init__(self, status: int) -> None:
        super().__init__(str(status))
        self.status = status


@dataclass(frozen=True, slots=True)
class Keys:
    """AWS credentials; this process accepts signatures that are made with them."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str]) -> "Keys | None":
        """Return the credentials in AWS's usual variables, or None if there are none."""
        key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
        return (
            cls(key, secret, environment.get("AWS_SESSION_TOKEN") or None)
            if key and secret is not None
            else None
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A request to authorize; ``target`` is the request's path and query as sent, and header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def read_users(path: Path) -> dict[str, str]:
    """Read users from a CSV file with the columns `id` and `token`; return a dict from each token to the user's id.

    Raises:
        OptionError: the file cannot be read, or lacks a column or a value.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not CSV in UTF-8"
        raise OptionError(f"the file of --option users, {str(path)!a}, cannot be read: {why}") from None
    for number, row in enumerate(rows, start=2):
        if not row.get("id") or not row.get("token"):
            raise OptionError(
                f"{path.name!a}:{number}: a user needs the columns 'id' and 'token', and both filled in"
            )
    return {row["token"]: row["id"] for row in rows}


def token_subject(request: Request, api_key: str, users: Mapping[str, str]) -> str | None:
    """Return the user to whom the token in a request belongs, or None if it is the API key.

    The token may be in `Authorization` (with or without `Bearer`), in `x-api-key`, or in the query as `token`.

    Raises:
        RefusedError: there is no token (401), or it is no user's token (403).
    """
    query = dict(parse_qsl(request.target.partition("?")[2]))
    token = request.headers.get("authorization") or request.headers.get("x-api-key") or query.get("token")
    if not token:
        raise RefusedError(401)
    if token.lower().startswith(_BEARER):
        token = token[len(_BEARER) :].strip()
    if hmac.compare_digest(token.encode(errors="surrogateescape"), api_key.encode()):
        return None
    if token in users:
        return users[token]
    raise RefusedError(403)


def demand_signature(request: Request, keys: Keys | None) -> None:
    """Check that a request's headers have a valid SigV4 signature, made with ``keys``.

    Raises:
        RefusedError: there is no signature, or it does not match the keys and the request. AWS documents status 403 for
            both.
    """
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    headers = request.headers
    parts = _SIGNATURE.fullmatch(headers.get("authorization", ""))
    if parts is None or keys is None or parts["key"] != keys.access_key_id or parts["service"] != SERVICE:
        raise RefusedError(403)
    names = parts["headers"].split(";")
    timestamp = headers.get("x-amz-date", "")
    if "host" not in names or any(name not in headers for name in names):
        raise RefusedError(403)
    if keys.session_token is not None and headers.get("x-amz-security-token") != keys.session_token:
        raise RefusedError(403)
    try:
        signed_at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise RefusedError(403) from None
    if timestamp[:8] != parts["date"] or abs(datetime.now(UTC) - signed_at) > _SKEW_MAX:
        raise RefusedError(403)
    signed: Any = AWSRequest(
        request.method,
        f"https://{headers['host']}{request.target}",
        data=request.body,
        headers={name: headers[name] for name in names},
    )
    signed.context["timestamp"] = timestamp

    class Verifier(SigV4Auth):  # type: ignore[misc]
        """botocore's signer, restricted to the headers that the client has signed."""

        def headers_to_sign(self, request: Any) -> Any:
            return request.headers

    signer: Any = Verifier(
        Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token), SERVICE, parts["region"]
    )
    try:
        canonical = signer.canonical_request(signed)
        expected = signer.signature(signer.string_to_sign(signed, canonical), signed)
    except ValueError:
        raise RefusedError(403) from None
    if not hmac.compare_digest(expected, parts["signature"]):
        raise RefusedError(403)
