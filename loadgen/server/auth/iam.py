"""Authorization by IAM: recompute the SigV4 signature with botocore and compare.

A client signs `POST https://<HTTP host>/event` for the service `appsync` (AWS: amplify-js #14001). The signed body is
`{}` for a connect, `{"channel":…}` for a subscribe, `{"channel":…,"events":[…]}` for a publish over WebSocket, and the
request body for a publish over HTTP.
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Final

from loadgen.protocol.appsync import errors
from loadgen.protocol.appsync.channels import namespace_of
from loadgen.server.auth.base import AuthorizationRequest, Identity, Operation
from loadgen.server.auth.signatures import ALGORITHM, Signature, SignedRequest
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

SERVICE: Final = "appsync"
SKEW_MAX: Final = timedelta(minutes=15)
"""Largest difference between a signature's time and now (assumption: 15 minutes, as for most AWS services)."""

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
                Only AWS's error text for a wrong signature is known; the other texts are assumptions.
        """
        credentials, caller = request.credentials, request.caller
        try:
            signed = Signature.read(credentials["authorization"])
            user = self._users.get(signed.key)
            if user is None or not _same(credentials.get("x-amz-security-token"), user.session_token):
                raise RefusedError(errors.UNKNOWN_ACCESS_KEY, HTTPStatus.FORBIDDEN)
            if signed.region != self._region or signed.service != SERVICE:
                raise RefusedError(errors.signature_scope(self._region, SERVICE), HTTPStatus.BAD_REQUEST)
            came = SignedRequest(credentials, request.signed_body(), caller.query, caller.host, request.path)
            _require_recent(came.time(), signed.date)
            possible = list(came.signatures(signed, user.secret_access_key))
        except ValueError:
            # The signature is malformed or incomplete (`SignatureError`), or a header cannot be encoded.
            raise RefusedError(errors.SIGNATURE_INCOMPLETE, HTTPStatus.BAD_REQUEST) from None
        # The signature need not cover the session token, which the code above has compared with the user's (assumption:
        # AWS accepts an unsigned token).
        if not any(hmac.compare_digest(expected, signed.value) for _, expected in possible):
            raise RefusedError(errors.signature_mismatch(possible[0][0]), HTTPStatus.BAD_REQUEST)
        if not user.may(request.operation, namespace_of(request.channel) if request.channel else ""):
            raise RefusedError(errors.ACCESS_DENIED, HTTPStatus.FORBIDDEN)
        # The members about a Cognito identity pool are null for other logins (AWS docs); the server supports no such
        # pool.
        return {
            "accountId": user.account_id,
            "cognitoIdentityPoolId": None,
            "cognitoIdentityId": None,
            "sourceIp": list(caller.addresses),
            "username": user.username,
            "userArn": f"arn:aws:iam::{user.account_id}:user/{user.username}",
            "cognitoIdentityAuthType": None,
            "cognitoIdentityAuthProvider": None,
        }


def _same(given: str | None, wanted: str | None) -> bool:
    return hmac.compare_digest((given or "").encode(errors="surrogatepass"), (wanted or "").encode())


def _require_recent(signed_at: datetime, scope_date: str) -> None:
    if f"{signed_at:%Y%m%d}" != scope_date or abs(datetime.now(UTC) - signed_at) > SKEW_MAX:
        raise RefusedError(errors.SIGNATURE_EXPIRED, HTTPStatus.BAD_REQUEST)
