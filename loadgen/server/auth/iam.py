"""Authorization by IAM: recompute the SigV4 signature with botocore and compare.

A client signs `POST https://<HTTP host>/event` for the service `appsync` (AWS: amplify-js #14001). The signed body is
`{}` for a connect, `{"channel":…}` for a subscribe, `{"channel":…,"events":[…]}` for a publish over WebSocket, and the
request body for a publish over HTTP.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, Final

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from loadgen.protocol.appsync import errors
from loadgen.protocol.appsync.channels import namespace_of
from loadgen.server.auth.base import AuthorizationRequest, Identity, Operation
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "appsync"
SKEW_MAX: Final = timedelta(minutes=15)
"""Largest difference between a signature's time and now (assumption: the bound of most AWS services)."""

_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} Credential=(?P<key>[\w-]{{1,128}})/(?P<date>\d{{8}})/"
    r"(?P<region>[a-z0-9-]{1,64})/(?P<service>[a-z0-9-]{1,64})"
    r"/aws4_request,\s*SignedHeaders=(?P<headers>[a-z0-9;-]{1,2048}),\s*Signature=(?P<signature>[0-9a-f]{64})",
    re.ASCII,
)
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
_CONTENT_HASH = "x-amz-content-sha256"
_ACTIONS = {
    Operation.CONNECT: "EventConnect",
    Operation.PUBLISH: "EventPublish",
    Operation.SUBSCRIBE: "EventSubscribe",
}


@dataclass(frozen=True, slots=True)
class IamUser:
    """A user with an access key; `allow` lists the actions that the user may perform.

    Actions are `EventConnect`, `EventPublish` and `EventSubscribe`, the last two optionally followed by `/<namespace>`
    (AWS docs), or `*` for all.
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    account_id: str = "000000000000"
    username: str = "local"
    allow: tuple[str, ...] = ("*",)

    def may(self, operation: Operation, namespace: str) -> bool:
        """Return True if the user may perform the operation in the namespace."""
        action = _ACTIONS[operation]
        return any(entry in ("*", action, f"{action}/{namespace}") for entry in self.allow)


class IamAuthorizer:
    """Allows requests that a known user has signed and has permission for."""

    mode = Mode.IAM

    def __init__(self, users: Iterable[IamUser], region: str = "us-east-1") -> None:
        self._users = {user.access_key_id: user for user in users}
        self._region = region

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return True if `Authorization` names the SigV4 algorithm."""
        return credentials.get("authorization", "").startswith(ALGORITHM)

    async def authorize(self, request: AuthorizationRequest) -> Identity:
        """Recompute the signature and return the user's identity.

        Raises:
            RefusedError: the signature is incomplete, too old or wrong, or the user is unknown or lacks the permission.
                Only the text for a wrong signature is known; the others are assumptions.
        """
        credentials = request.credentials
        parts = _AUTHORIZATION.fullmatch(credentials["authorization"])
        if parts is None:
            raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
        user = self._users.get(parts["key"])
        if user is None or not _same(credentials.get("x-amz-security-token"), user.session_token):
            raise RefusedError(errors.UNKNOWN_ACCESS_KEY, HTTPStatus.FORBIDDEN)
        if parts["region"] != self._region or parts["service"] != SERVICE:
            raise RefusedError(errors.signature_scope(self._region, SERVICE), HTTPStatus.BAD_REQUEST)
        timestamp = credentials.get("x-amz-date", "")
        _require_recent(timestamp, parts["date"])
        body = request.signed_body()
        try:
            canonical, expected = _signature(user, parts, credentials, timestamp, body, request.path)
        except ValueError:
            # The host is invalid in a URL, or a header cannot be encoded.
            raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST) from None
        if not hmac.compare_digest(expected, parts["signature"]):
            raise RefusedError(errors.signature_mismatch(canonical), HTTPStatus.BAD_REQUEST)
        if not user.may(request.operation, namespace_of(request.channel) if request.channel else ""):
            raise RefusedError(errors.ACCESS_DENIED, HTTPStatus.FORBIDDEN)
        return {
            "accountId": user.account_id,
            "username": user.username,
            "userArn": f"arn:aws:iam::{user.account_id}:user/{user.username}",
        }


def _same(given: str | None, wanted: str | None) -> bool:
    return hmac.compare_digest((given or "").encode(errors="surrogatepass"), (wanted or "").encode())


def _require_recent(timestamp: str, scope_date: str) -> None:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=UTC)
    except ValueError:
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST) from None
    if timestamp[:8] != scope_date or abs(datetime.now(UTC) - signed_at) > SKEW_MAX:
        raise RefusedError(errors.SIGNATURE_EXPIRED, HTTPStatus.BAD_REQUEST)


def _signature(
    user: IamUser,
    parts: re.Match[str],
    credentials: Mapping[str, str],
    timestamp: str,
    body: bytes,
    path: str,
) -> tuple[str, str]:
    """Return the canonical request, and its signature with the user's secret.

    Raises:
        RefusedError: a header in SignedHeaders is missing, a required one (host, date, session token) is not signed, or
            the content hash is not that of the body.
    """
    names = parts["headers"].split(";")
    if not {"host", "x-amz-date"} <= set(names) or any(name not in credentials for name in names):
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    if user.session_token is not None and "x-amz-security-token" not in names:
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    digest = hashlib.sha256(body).hexdigest()
    if credentials.get(_CONTENT_HASH, digest) != digest:
        # botocore signs this header's value as the body's hash. Without this check, a signature of another body would
        # pass.
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    url = f"https://{credentials['host']}{path}"
    request = AWSRequest("POST", url, data=body, headers={name: credentials[name] for name in names})
    request.context["timestamp"] = timestamp
    signer: Any = _Verifier(
        Credentials(user.access_key_id, user.secret_access_key, user.session_token),
        SERVICE,
        parts["region"],
    )
    canonical: str = signer.canonical_request(request)
    return canonical, signer.signature(signer.string_to_sign(request, canonical), request)


class _Verifier(SigV4Auth):  # type: ignore[misc]
    """botocore's signer, restricted to the headers that the client has signed."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers
