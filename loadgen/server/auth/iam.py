"""IAM: SigV4 signatures, computed again by botocore and compared.

What is signed (real, amplify-js #14001): `POST https://<HTTP host>/event`, service `appsync`, and as body `{}` to
connect, `{"channel":…}` to subscribe, `{"channel":…,"events":[…]}` to publish by WebSocket; by HTTP the body itself.
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
from loadgen.protocol.appsync.endpoints import HTTP_PATH
from loadgen.server.auth.base import AuthorizationRequest, Identity, Operation
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "appsync"
SKEW_MAX: Final = timedelta(minutes=15)
"""How old or early a signature may be (assumption: the bound of most AWS services)."""

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
    """Somebody who may sign; what they may do is a list of actions, as `EventPublish/chat` or `*`.

    `EventConnect`, `EventPublish`, `EventSubscribe`, the latter two optionally followed by `/<namespace>` (doc:
    resources of the actions).
    """

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    account_id: str = "000000000000"
    username: str = "local"
    allow: tuple[str, ...] = ("*",)

    def may(self, operation: Operation, namespace: str) -> bool:
        """Return whether the actions allow the operation."""
        action = _ACTIONS[operation]
        return any(entry in ("*", action, f"{action}/{namespace}") for entry in self.allow)


class IamAuthorizer:
    """Allows what one of the users has signed and may do."""

    mode = Mode.IAM

    def __init__(self, users: Iterable[IamUser], region: str = "us-east-1") -> None:
        self._users = {user.access_key_id: user for user in users}
        self._region = region

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """An `Authorization` of the SigV4 algorithm."""
        return credentials.get("authorization", "").startswith(ALGORITHM)

    async def authorize(self, request: AuthorizationRequest) -> Identity:
        """Compute the signature again; raises RefusedError. The texts beyond the mismatch's are assumptions."""
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
            canonical, expected = _signature(user, parts, credentials, timestamp, body)
        except ValueError:
            # A host that no URL can have, or a header that cannot be encoded.
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
    user: IamUser, parts: re.Match[str], credentials: Mapping[str, str], timestamp: str, body: bytes
) -> tuple[str, str]:
    """Return the canonical request and the signature that the user would have made.

    Raises:
        RefusedError: a header is said to be signed and not there, or host and date are not signed.
    """
    names = parts["headers"].split(";")
    if not {"host", "x-amz-date"} <= set(names) or any(name not in credentials for name in names):
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    if user.session_token is not None and "x-amz-security-token" not in names:
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    digest = hashlib.sha256(body).hexdigest()
    if credentials.get(_CONTENT_HASH, digest) != digest:
        # Otherwise a signature of another body, or of none, would be taken for one of this.
        raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST)
    url = f"https://{credentials['host']}{HTTP_PATH}"
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
    """botocore's signer over exactly the headers that the client says it signed."""

    def headers_to_sign(self, request: Any) -> Any:
        return request.headers
