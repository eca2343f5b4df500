"""Create the credential that a login describes."""

import logging
import os
import re
import shlex
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from loadgen.console import say
from loadgen.credentials import sources
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.refreshing import FetchedToken, RefreshingToken
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, Credential
from loadgen.protocol.mqtt.auth import ClientCertificate, UserPassword
from loadgen.transport import proxy

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

_SHOWN_CHARACTERS = 500
_log = logging.getLogger(__name__)
_AWS_REGION = re.compile(r"\.appsync-api\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


def secret_of(login: "Login", host: str) -> Credential | UserPassword | ClientCertificate:
    """Return the credential that a login describes, for the target at ``host``; asks each source once.

    Raises:
        CredentialError: a secret is missing or cannot be obtained.
    """
    if login.mode == "password":
        assert login.username_env is not None
        assert login.password_env is not None
        return UserPassword(
            sources.from_environment(login.username_env), sources.from_environment(login.password_env)
        )
    if login.mode == "certificate":
        assert login.certificate is not None
        assert login.key is not None
        return ClientCertificate(login.certificate, login.key)
    return credential(login, host)


def credential(login: "Login", http_host: str) -> Credential:
    """Return the credential that a login describes, for the Event API at ``http_host``; asks each source once.

    Raises:
        CredentialError: a secret is missing or cannot be obtained.
    """
    if login.mode == "api-key":
        if login.api_id is not None:
            return ApiKey(sources.from_appsync(_appsync_client(login, http_host), login.api_id))
        assert login.key_env is not None
        try:
            return ApiKey(sources.from_environment(login.key_env))
        except ValueError as error:
            raise CredentialError(f"the key in {login.key_env} cannot be used: {error}") from None
    if login.mode == "iam":
        return _iam(login, http_host)
    token = RefreshingToken(_source(login, http_host))
    token()
    return BearerToken(token)


def _source(login: "Login", http_host: str) -> Callable[[], FetchedToken]:
    if login.token_env is not None:
        return partial(sources.from_variable, login.token_env)
    if login.token_file is not None:
        return partial(sources.from_file, login.token_file)
    if login.token_command is not None:
        _announce(login.token_command)
        return partial(sources.from_command, login.token_command)
    assert login.client_id_env is not None
    client_id = sources.from_environment(login.client_id_env)
    if login.mode == "oidc":
        assert login.token_url is not None
        assert login.client_secret_env is not None
        secret = sources.from_environment(login.client_secret_env)
        return partial(sources.from_client_credentials, login.token_url, client_id, secret, login.scope)
    assert login.username_env is not None
    assert login.password_env is not None
    return partial(
        sources.from_user_pool,
        _cognito_client(login, http_host),
        client_id,
        sources.from_environment(login.username_env),
        sources.from_environment(login.password_env),
    )


@cache
def _announce(words: tuple[str, ...]) -> None:
    """Print the command that is run for a token, once per process."""
    shown = shlex.join(words)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}…"
    say(f"the login runs a command for its token: {shown}")


def _iam(login: "Login", http_host: str) -> Credential:
    from botocore.exceptions import BotoCoreError

    from loadgen.protocol.appsync.sigv4 import IamSignature

    session = _session(login.profile)
    region = _region(login, session, http_host)
    try:
        # botocore renews temporary credentials when they are used, ten to fifteen minutes before they expire.
        credentials: Any = session.get_credentials()
        if credentials is None:
            raise CredentialError(
                "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile"
            )
        latest = _Latest(credentials)
    except BotoCoreError as error:
        raise CredentialError(f"the AWS credentials cannot be obtained: {type(error).__name__}") from None
    return IamSignature(latest, region)


class _Latest:
    """AWS credentials that stay in use if they cannot be renewed, so that the service's own answer goes on record."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials
        self._frozen = credentials.get_frozen_credentials()

    def __call__(self) -> Any:
        from botocore.exceptions import BotoCoreError

        try:
            self._frozen = self._credentials.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:
            _log.warning("the AWS credentials could not be renewed: %s", type(error).__name__)
        return self._frozen


def _cognito_client(login: "Login", http_host: str) -> Any:
    from botocore import UNSIGNED
    from botocore.config import Config

    session = _session(None)
    return session.create_client(
        "cognito-idp",
        region_name=_region(login, session, http_host),
        config=Config(signature_version=UNSIGNED),
    )


def _appsync_client(login: "Login", http_host: str) -> Any:
    session = _session(login.profile)
    return session.create_client("appsync", region_name=_region(login, session, http_host))


def _session(profile: str | None) -> Any:
    import botocore.session
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session(profile=profile)
        session.get_scoped_config()
        if proxy.is_off():
            session.set_default_client_config(Config(proxies={}))
        else:
            proxy.choose("https://amazonaws.com", os.environ)
    except proxy.ProxySettingError as error:
        raise CredentialError(str(error)) from None
    except BotoCoreError as error:
        raise CredentialError(f"the AWS configuration cannot be used: {error}") from None
    return session


def _region(login: "Login", session: Any, http_host: str) -> str:
    of_host = _AWS_REGION.search(http_host)
    region = login.region or (of_host["region"] if of_host else None) or os.environ.get("AWS_REGION")
    region = region or session.get_config_variable("region")
    if not region:
        raise CredentialError("the AWS region is not known: set AWS_REGION, or 'region' in the login")
    return str(region)
