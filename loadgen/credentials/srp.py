"""The Secure Remote Password protocol as Cognito user pools use it (USER_SRP_AUTH).

The formulas are those of SRP-6a (RFC 5054, 2.5 and 2.6). Cognito uses SHA-256 and the 3072-bit group of RFC 3526 with
the generator 2, puts the pool's name before the user's, and derives the key by HKDF (RFC 5869) with "Caldera Derived
Key".
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from loadgen.credentials.errors import CredentialError

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPHEMERAL_BYTES: Final = 128

#: The prime of the 3072-bit MODP group (RFC 3526, section 4).
N_3072: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B"
    "302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE6"
    "49286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB9ED529077096966D"
    "670C354E4ABC9804F1746C08CA18217C32905E462E36CE3BE39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7D"
    "B3970F85A6E1E4C7ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C"
    "BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    16,
)


@dataclass(frozen=True, slots=True)
class Group:
    """The parameters of SRP-6a: the prime N, the generator g, the hash, and how numbers are encoded for hashing."""

    n: int
    g: int
    digest: Callable[[bytes], Any]
    pad: Callable[[int], bytes]
    #: Encodes the group's prime N as bytes for hashing; `pad` encodes all other numbers.
    pad_n: Callable[[int], bytes]

    def hash(self, *parts: bytes) -> int:
        """Return the hash of the concatenated parts as a number."""
        return int.from_bytes(self.digest(b"".join(parts)).digest())

    @property
    def k(self) -> int:
        """The multiplier parameter k of SRP-6a."""
        return self.hash(self.pad_n(self.n), self.pad(self.g))

    def public(self, a: int) -> int:
        """Return the client's public value A for its secret value ``a``."""
        return pow(self.g, a, self.n)

    def premaster(self, a: int, public_a: int, public_b: int, x: int) -> tuple[int, int]:
        """Return the client's premaster secret S and the scrambling parameter u.

        Raises:
            ValueError: the server's public value B, or u, is zero, which the protocol forbids.
        """
        if public_b % self.n == 0:
            raise ValueError("B is zero")
        u = self.hash(self.pad(public_a), self.pad(public_b))
        if u == 0:
            raise ValueError("u is zero")
        return pow(public_b - self.k * pow(self.g, x, self.n), a + u * x, self.n), u


def signed_bytes(number: int) -> bytes:
    """Return a number in the fewest bytes whose first bit is 0, as Cognito hashes numbers."""
    return number.to_bytes(number.bit_length() // 8 + 1)


COGNITO: Final = Group(N_3072, 2, hashlib.sha256, signed_bytes, signed_bytes)


class Exchange:
    """One login of one user; ``secret`` is the client's secret value a of SRP, random unless a test sets it."""

    def __init__(self, pool: str, password: str, secret: int | None = None) -> None:
        """``pool`` is the id of the user pool, such as ``eu-west-1_Ab12Cd``."""
        self._pool = pool.partition("_")[2]
        self._password = password
        self._a = secret or int.from_bytes(secrets.token_bytes(_EPHEMERAL_BYTES))
        self._public = COGNITO.public(self._a)

    @property
    def public(self) -> str:
        """The client's public value A, as text for the parameter SRP_A."""
        return f"{self._public:x}"

    def key(self, user: str, salt: str, public_b: str) -> bytes:
        """Return the session key, which the user pool derives as well; raises ValueError for an invalid challenge."""
        inner = hashlib.sha256(f"{self._pool}{user}:{self._password}".encode()).digest()
        x = COGNITO.hash(signed_bytes(int(salt, 16)), inner)
        premaster, u = COGNITO.premaster(self._a, self._public, int(public_b, 16), x)
        extracted = hmac.digest(signed_bytes(u), signed_bytes(premaster), "sha256")
        return hmac.digest(extracted, b"Caldera Derived Key\x01", "sha256")[:16]

    def responses(self, challenge: dict[str, str], now: datetime | None = None) -> dict[str, str]:
        """Return the answer to the challenge PASSWORD_VERIFIER.

        Raises:
            CredentialError: the challenge is not valid.
        """
        stamp = timestamp(now or datetime.now(UTC))
        try:
            user, block = challenge["USER_ID_FOR_SRP"], challenge["SECRET_BLOCK"]
            key = self.key(user, challenge["SALT"], challenge["SRP_B"])
            message = self._pool.encode() + user.encode() + base64.b64decode(block) + stamp.encode()
        except (KeyError, ValueError):
            raise CredentialError("the Cognito user pool's challenge cannot be understood") from None
        return {
            "USERNAME": user,
            "TIMESTAMP": stamp,
            "PASSWORD_CLAIM_SECRET_BLOCK": block,
            "PASSWORD_CLAIM_SIGNATURE": base64.b64encode(hmac.digest(key, message, "sha256")).decode(),
        }


def timestamp(now: datetime) -> str:
    """Return a time in the form that Cognito requires, with English names in every locale."""
    return f"{_DAYS[now.weekday()]} {_MONTHS[now.month - 1]} {now.day} {now:%H:%M:%S} UTC {now.year}"
