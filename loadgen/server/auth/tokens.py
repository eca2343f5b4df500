"""Authorization by JSON Web Tokens of Cognito or another OpenID Connect provider, verified with PyJWT."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import jwt

from loadgen.config import document
from loadgen.config.problems import ScenarioError
from loadgen.protocol.appsync import errors
from loadgen.server.auth.base import AuthorizationRequest, Identity
from loadgen.server.modes import Mode
from loadgen.server.refusal import RefusedError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
"""Accepted algorithms, asymmetric only: with HS256 anyone could sign, using the public key as the secret."""

DEFAULT_AUTH_STRATEGY: Final = "ALLOW"
"""Value of `ctx.identity.defaultAuthStrategy` for a user-pool token. A GraphQL API has a setting for it, but an Event
API has none (assumption)."""

_LEEWAY_S: Final = 5
_BEARER: Final = "bearer "


class JwtAuthorizer:
    """Allows requests with a token of one issuer, signed by a key in a local JWKS file.

    Cognito's ID tokens (`aud`) and access tokens (`client_id`) are both accepted: the documentation names ID tokens,
    and Amplify sends access tokens. Since keys rotate, a changed file is read again when a token names an unknown key.
    """

    def __init__(self, mode: Mode, issuer: str, jwks: Path, client_id: str | None = None) -> None:
        self.mode = mode
        self._issuer = issuer
        self._jwks = jwks
        self._client_id = re.compile(client_id) if client_id else None
        self._keys = _read_keys(jwks)
        self._read_ns = jwks.stat().st_mtime_ns

    def recognises(self, credentials: Mapping[str, str]) -> bool:
        """Return True if `Authorization` is a token that names this issuer; `authorize` verifies it."""
        try:
            claims = jwt.decode(_token(credentials), options={"verify_signature": False})
        except (jwt.InvalidTokenError, ValueError, RecursionError):
            return False
        return claims.get("iss") == self._issuer

    async def authorize(self, request: AuthorizationRequest) -> Identity:
        """Verify signature, issuer, times and client of the token; return the identity.

        Raises:
            RefusedError: the token is expired or invalid. The error texts are assumptions.
        """
        token = _token(request.credentials)
        try:
            claims = self._verified(token)
        except jwt.ExpiredSignatureError:
            raise RefusedError(errors.TOKEN_EXPIRED, HTTPStatus.UNAUTHORIZED) from None
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError):
            raise RefusedError(errors.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED) from None
        if not self._of_our_client(claims):
            raise RefusedError(errors.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED)
        identity: dict[str, Any] = {"claims": claims, "issuer": self._issuer, "sub": claims.get("sub")}
        if self.mode is Mode.COGNITO:
            # An ID token has `cognito:username`, an access token `username`; other issuers' tokens may have neither.
            identity["username"] = claims.get("cognito:username", claims.get("username", claims.get("sub")))
            identity["groups"] = claims.get("cognito:groups")
            identity["sourceIp"] = list(request.caller.addresses)
            identity["defaultAuthStrategy"] = DEFAULT_AUTH_STRATEGY
        return identity

    def _verified(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        key = self._key(header.get("kid"))
        if header.get("alg") not in ALGORITHMS or key is None:
            raise jwt.InvalidTokenError
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[header["alg"]],
            issuer=self._issuer,
            leeway=_LEEWAY_S,
            options={"require": ["exp", "iss"], "verify_aud": False},
        )
        return claims

    def _key(self, key_id: object) -> jwt.PyJWK | None:
        found = self._find(key_id)
        if found is None:
            try:
                changed_ns = self._jwks.stat().st_mtime_ns
                if changed_ns != self._read_ns:
                    self._keys, self._read_ns = _read_keys(self._jwks), changed_ns
                    found = self._find(key_id)
            except (OSError, ValueError):
                return None
        return found

    def _find(self, key_id: object) -> jwt.PyJWK | None:
        if key_id is None and len(self._keys) == 1:
            return self._keys[0]
        return next((key for key in self._keys if key.key_id is not None and key.key_id == key_id), None)

    def _of_our_client(self, claims: Mapping[str, Any]) -> bool:
        if self.mode is Mode.COGNITO and claims.get("token_use") not in ("id", "access"):
            return False
        if self._client_id is None:
            return True
        audience = claims.get("aud", [])
        clients = [*(audience if isinstance(audience, list) else [audience])]
        clients += [claims.get("client_id"), claims.get("azp")]
        return any(isinstance(client, str) and self._client_id.fullmatch(client) for client in clients)


def _token(credentials: Mapping[str, str]) -> str:
    token = credentials.get("authorization", "").strip()
    return token[len(_BEARER) :].strip() if token.lower().startswith(_BEARER) else token


def _read_keys(path: Path) -> list[jwt.PyJWK]:
    """Return the keys of a JWKS file.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a JWKS.
    """
    try:
        return jwt.PyJWKSet.from_json(document.read_text(path)).keys
    except (jwt.PyJWTError, AttributeError, TypeError, RecursionError, ScenarioError) as error:
        raise ValueError(str(error)) from None
