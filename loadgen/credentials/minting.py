"""Tokens that the load generator makes itself: JWTs signed with a local key, with claims from a client's own values."""

import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loadgen.credentials.errors import CredentialError
from loadgen.credentials.refreshing import FetchedToken
from loadgen.credentials.spread import renew_at_s
from loadgen.data.cells import Cell
from loadgen.scenario.login_columns import filled_json

if TYPE_CHECKING:
    from loadgen.scenario.login import Minting

_KEY_MAX_BYTES: Final = 64 * 1024


class Minter:
    """Makes JWTs as a login describes them; the key is read once in a process."""

    def __init__(self, minting: "Minting", clock: Callable[[], float] = time.time) -> None:
        """Read the key.

        Raises:
            CredentialError: the key file cannot be read, or has no key for the algorithm.
        """
        self._key = signing_key(minting.key_file, minting.algorithm)
        self._algorithm = minting.algorithm
        self._headers = None if minting.kid is None else {"kid": minting.kid}
        self._lifetime_s = minting.expires_ns / 1e9
        self._claims = dict(minting.claims)
        self.clock = clock

    def mint(self, values: Mapping[str, Cell]) -> FetchedToken:
        """Return a new token with the claims of a client that has these values.

        Raises:
            CredentialError: a claim cannot be part of a JWT; the message names it without its value.
        """
        # Import PyJWT only when it is needed: it loads all of the package cryptography.
        import jwt

        now_s = self.clock()
        # The times in a JWT are whole seconds; round down, since a token must not live longer than was asked for.
        expires_s = int(now_s + self._lifetime_s)
        claims: dict[str, Any] = {**filled_json(self._claims, values), "iat": int(now_s), "exp": expires_s}
        try:
            token = jwt.encode(claims, self._key, self._algorithm, headers=self._headers)
        except (TypeError, ValueError, jwt.PyJWTError) as error:
            raise CredentialError(f"no JWT can have these claims: {type(error).__name__}") from None
        return FetchedToken(token, float(expires_s))


class MintedToken:
    """A callable that returns one client's current token, and makes a new token when a renewal is due."""

    __slots__ = ("_minter", "_number", "_renew_at_s", "_seed", "_token", "_turn", "_values")

    def __init__(self, minter: Minter, seed: str, number: int, values: Mapping[str, Cell]) -> None:
        """Make the first token; raises CredentialError."""
        self._minter, self._seed, self._number, self._values = minter, seed, number, values
        self._turn = 0
        self._renew()

    def __call__(self) -> str:
        """Return the current token."""
        if self._minter.clock() >= self._renew_at_s:
            self._renew()
        return self._token

    @property
    def renewals(self) -> int:
        """Number of times that the token was renewed."""
        return self._turn - 1

    def _renew(self) -> None:
        made = self._minter.mint(self._values)
        assert made.expires_s is not None
        self._token = made.token
        self._renew_at_s = renew_at_s(
            self._minter.clock(), made.expires_s, self._seed, self._number, self._turn
        )
        self._turn += 1


@cache
def signing_key(path: str, algorithm: str) -> Any:
    """Return the private key in a PEM file, for RS256 or ES256.

    Raises:
        CredentialError: the file cannot be read, or has no key for the algorithm.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        with Path(path).open("rb") as file:
            content = file.read(_KEY_MAX_BYTES)
    except (OSError, ValueError):
        raise CredentialError(
            f"the signing key {path!a} cannot be read: check the path and its permissions"
        ) from None
    try:
        key = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CredentialError(
            f"the signing key {path!a} is no private key in PEM form without a password"
        ) from None
    fits = (
        isinstance(key, rsa.RSAPrivateKey)
        if algorithm == "RS256"
        else isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    )
    if not fits:
        wanted = "an RSA key" if algorithm == "RS256" else "a key of the curve P-256"
        raise CredentialError(f"the signing key {path!a} is not {wanted}, which {algorithm} needs")
    return key
