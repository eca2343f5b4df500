"""Read tokens and API keys from their sources."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from loadgen.credentials.errors import CredentialError
from loadgen.credentials.refreshing import FetchedToken
from loadgen.transport import bounded
from loadgen.transport.errors import TransportError

TIMEOUT_S: Final = 15.0
_TOKEN_MAX_BYTES: Final = 64 * 1024


def from_environment(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the value of an environment variable; raises CredentialError if it is empty or not set."""
    value = environment.get(name, "").strip()
    if not value:
        raise CredentialError(
            f"the environment variable {name} is not set: export it with the target's secret"
        )
    return value


def from_variable(name: str) -> FetchedToken:
    """Return the token in an environment variable; it cannot be renewed, so its expiry is ignored."""
    return FetchedToken(_printable(from_environment(name), f"${name}"))


def from_file(path: str) -> FetchedToken:
    """Return the token in a file, with its expiry if it is a JWT; raises CredentialError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(_TOKEN_MAX_BYTES + 1)
        token = content.decode().strip()
    except (OSError, UnicodeDecodeError):
        raise CredentialError(
            f"the token file {path!a} cannot be read: check the path and its permissions"
        ) from None
    if len(content) > _TOKEN_MAX_BYTES:
        raise CredentialError(
            f"the token file {path!a} is larger than {_TOKEN_MAX_BYTES >> 10} KiB, too large for a token"
        )
    return _with_expiry(_printable(token, f"file {path!a}"))


def from_command(words: Sequence[str]) -> FetchedToken:
    """Return the token that a command prints, with its expiry if it is a JWT; raises CredentialError.

    The command's standard error is never shown, as it may hold a secret.
    """
    try:
        finished = subprocess.run(  # noqa: S603  the user's own command
            words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        raise CredentialError(
            f"the token command {words[0]!a} cannot be run or took longer than {TIMEOUT_S:g} s"
        ) from None
    if finished.returncode != 0:
        raise CredentialError(f"the token command {words[0]!a} ended with exit code {finished.returncode}")
    return _with_expiry(_printable(finished.stdout.strip(), f"command {words[0]!a}"))


def from_client_credentials(url: str, client_id: str, client_secret: str, scope: str | None) -> FetchedToken:
    """Return an access token by OAuth's client credentials grant (RFC 6749, 4.4); raises CredentialError."""
    form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
    return _granted(url, form, client_id, client_secret)


def from_password_grant(
    url: str, client_id: str, client_secret: str | None, scope: str | None, username: str, password: str
) -> FetchedToken:
    """Return an access token by OAuth's password grant (RFC 6749, 4.3); raises CredentialError.

    A client without a secret sends its client id in the form instead of a header (RFC 6749, 2.3.1 and 3.2.1).
    """
    form = {"grant_type": "password", "username": username, "password": password}
    if scope:
        form["scope"] = scope
    return _granted(url, form, client_id, client_secret)


def _granted(url: str, form: dict[str, str], client_id: str, client_secret: str | None) -> FetchedToken:
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    if client_secret is None:
        form["client_id"] = client_id
    else:
        login = base64.b64encode(f"{client_id}:{client_secret}".encode()).decode()
        headers["authorization"] = f"Basic {login}"
    return _asked("POST", url, headers, urlencode(form).encode(), ("access_token",))


def from_endpoint(url: str) -> FetchedToken:
    """Return the token in an endpoint's answer to GET: JSON with access_token or token, or the token as plain text.

    Raises:
        CredentialError: the endpoint refuses, cannot be reached, or answers without a token.
    """
    return _asked("GET", url, {"accept": "application/json, text/plain"}, b"", ("access_token", "token"))


def _asked(
    method: str, url: str, headers: Mapping[str, str], body: bytes, names: Sequence[str]
) -> FetchedToken:
    asked_s = time.time()
    # Errors name only the endpoint's host, since the rest of the URL may contain a login or name a client.
    host = urlsplit(url).netloc.rpartition("@")[2]
    try:
        status, answer = bounded.ask(method, url, timeout_s=TIMEOUT_S, headers=headers, body=body)
    except TransportError as error:
        raise CredentialError(f"the token endpoint at {host!a} cannot be reached: {error}") from None
    if not 200 <= status < 300:
        raise CredentialError(f"the token endpoint answered HTTP {status}")
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    if found is None and len(names) > 1:
        try:
            return _with_expiry(_printable(answer.decode().strip(), "token endpoint"))
        except UnicodeDecodeError:
            pass
    try:
        token = str(next(found[name] for name in names if name in found))
        lifetime_s = found.get("expires_in")
        expires_s = None if lifetime_s is None else asked_s + float(lifetime_s)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, StopIteration):
        raise CredentialError(f"the token endpoint's answer has no {names[0]}") from None
    token = _printable(token, "token endpoint")
    return FetchedToken(token, expires_s) if expires_s is not None else _with_expiry(token)


def from_user_pool(client: Any, client_id: str, username: str, password: str) -> FetchedToken:
    """Return a Cognito access token by USER_PASSWORD_AUTH; ``client`` is botocore's client for `cognito-idp`.

    Raises:
        CredentialError: the user pool refused or cannot be reached, or requires a further step such as a new password.
    """
    with _user_pool():
        answer = client.initiate_auth(
            AuthFlow="USER_PASSWORD_AUTH",
            ClientId=client_id,
            AuthParameters={"USERNAME": username, "PASSWORD": password},
        )
    return _of_user_pool(answer)


def from_user_pool_by_srp(
    client: Any, pool: str, client_id: str, username: str, password: str
) -> FetchedToken:
    """Return a Cognito access token by the flow USER_SRP_AUTH: unlike `from_user_pool`, it never sends the password."""
    from loadgen.credentials.srp import Exchange

    exchange = Exchange(pool, password)
    with _user_pool():
        answer = client.initiate_auth(
            AuthFlow="USER_SRP_AUTH",
            ClientId=client_id,
            AuthParameters={"USERNAME": username, "SRP_A": exchange.public},
        )
        if answer.get("ChallengeName") == "PASSWORD_VERIFIER":
            session = {"Session": answer["Session"]} if answer.get("Session") else {}
            answer = client.respond_to_auth_challenge(
                ClientId=client_id,
                ChallengeName="PASSWORD_VERIFIER",
                ChallengeResponses=exchange.responses(answer.get("ChallengeParameters", {})),
                **session,
            )
    return _of_user_pool(answer)


@contextmanager
def _user_pool() -> Iterator[None]:
    """Convert botocore's errors within a `with` block to CredentialError."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        raise CredentialError(f"the Cognito user pool refused the user: {code}") from None
    except BotoCoreError as error:
        raise CredentialError(f"the Cognito user pool cannot be reached: {type(error).__name__}") from None


def _of_user_pool(answer: Mapping[str, Any]) -> FetchedToken:
    result = answer.get("AuthenticationResult")
    if not result:
        step = answer.get("ChallengeName", "a challenge")
        raise CredentialError(
            f"the Cognito user pool asks for {step}: choose a user that needs no further step"
        )
    return _with_expiry(str(result["AccessToken"]))


def from_appsync(client: Any, api_id: str) -> str:
    """Return the key with the latest expiry that AppSync lists for an API; ``client`` is botocore's for `appsync`.

    For current keys (`da2-…`), the id that ListApiKeys returns is the key itself (from secondary sources; AWS does not
    document it).

    Raises:
        CredentialError: AppSync cannot be asked, or the API has no valid key.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    keys: list[dict[str, Any]] = []
    asked: dict[str, Any] = {"apiId": api_id}
    try:
        while True:
            answer = client.list_api_keys(**asked)
            keys += answer.get("apiKeys", ())
            if not answer.get("nextToken"):
                break
            asked["nextToken"] = answer["nextToken"]
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "an error")
        raise CredentialError(
            f"AppSync refuses to list the keys of the API {api_id!a} ({code}): the AWS credentials must be allowed"
            " appsync:ListApiKeys, in the API's region"
        ) from None
    except BotoCoreError as error:
        raise CredentialError(
            f"AppSync cannot be asked for the keys of the API {api_id!a}: {type(error).__name__}"
        ) from None
    if not keys:
        raise CredentialError(f"the API {api_id!a} has no key: `loadgen aws up` makes one")
    latest = max(keys, key=lambda key: int(key.get("expires") or 0))
    expires_s = int(latest.get("expires") or 0)
    if expires_s and expires_s <= time.time():
        raise CredentialError(
            f"the key of the API {api_id!a} expired on {time.strftime('%Y-%m-%d', time.gmtime(expires_s))}:"
            " `loadgen aws up` renews it"
        )
    return str(latest["id"])


def _printable(token: str, source: str) -> str:
    if not token or not token.isascii() or not token.isprintable():
        raise CredentialError(
            f"the token from {source} is empty or has characters that an HTTP header cannot hold"
        )
    return token


def _with_expiry(token: str) -> FetchedToken:
    """Return the token with its expiry if it is a JWT; `exp` is not verified, as it only schedules the renewal."""
    # Import PyJWT only here: it loads all of the package cryptography, and most logins have no token that expires.
    import jwt

    try:
        expires_s = jwt.decode(token, options={"verify_signature": False}).get("exp")
        return FetchedToken(token, float(expires_s) if expires_s is not None else None)
    except (jwt.InvalidTokenError, ValueError, TypeError):
        return FetchedToken(token)
