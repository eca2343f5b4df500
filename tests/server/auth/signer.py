"""Sign requests with Signature Version 4 as clients do, with no code in common with the server."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import quote

ACCESS_KEY, SECRET_KEY, REGION = "AKIATEST", "secret/of+test", "eu-west-1"


def now() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def authorization(
    body: bytes,
    signed: Mapping[str, str],
    timestamp: str,
    *,
    path: str = "/event",
    query: Sequence[tuple[str, str]] = (),
    secret: str = SECRET_KEY,
    service: str = "appsync",
    body_hash: str | None = None,
) -> str:
    """Return the `Authorization` header of a POST whose signature covers exactly the headers ``signed``."""
    names = sorted(name.lower() for name in signed)
    values = {name.lower(): " ".join(value.split()) for name, value in signed.items()}
    canonical = "\n".join(
        [
            "POST",
            path,
            "&".join(
                sorted(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
            ),
            *(f"{name}:{values[name]}" for name in names),
            "",
            ";".join(names),
            body_hash or hashlib.sha256(body).hexdigest(),
        ]
    )
    scope = f"{timestamp[:8]}/{REGION}/{service}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, f"AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}".encode(), "sha256").hex()
    return (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={';'.join(names)},"
        f" Signature={signature}"
    )
