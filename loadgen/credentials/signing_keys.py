"""Make a key with which loadgen signs tokens, and the JSON Web Key Set by which a service verifies the tokens."""

import json
import os
from pathlib import Path
from typing import Any, Final, Literal

from loadgen.credentials.errors import CredentialError

PRIVATE: Final = "signing.pem"
PUBLIC: Final = "jwks.json"
Algorithm = Literal["ES256", "RS256"]


def make(folder: Path, algorithm: Algorithm, kid: str) -> tuple[Path, Path]:
    """Write a new private key, which only its owner can read, and its JWKS; return both paths.

    Raises:
        CredentialError: there is a key already, or the folder cannot be written.
    """
    # Import these only when a key is made: PyJWT loads the whole package `cryptography`.
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from jwt.algorithms import ECAlgorithm, RSAAlgorithm

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    public: dict[str, Any]
    if algorithm == "ES256":
        key = ec.generate_private_key(ec.SECP256R1())
        public = json.loads(ECAlgorithm.to_jwk(key.public_key()))
    else:
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        public = json.loads(RSAAlgorithm.to_jwk(key.public_key()))
        public.pop("key_ops", None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys = {"keys": [{**public, "kid": kid, "alg": algorithm, "use": "sig"}]}
    private_path, public_path = folder / PRIVATE, folder / PUBLIC
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CredentialError(f"no key can be written to {folder}: {error.strerror}") from None
    try:
        # O_EXCL never overwrites a key that is in use; O_NOFOLLOW never writes to the target of a symbolic link.
        descriptor = os.open(private_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
        public_path.write_text(json.dumps(keys, indent=1) + "\n", encoding="utf-8")
    except FileExistsError:
        raise CredentialError(f"{private_path} exists: remove it to make another key") from None
    except OSError as error:
        raise CredentialError(f"no key can be written to {folder}: {error.strerror}") from None
    return private_path, public_path
