"""Create the credential that a login describes."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from loadgen.credentials import sources
from loadgen.credentials.aws_clients import appsync_client, region_of, session_of
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.fetchers import announce, fetcher
from loadgen.credentials.refreshing import FetchedToken, RefreshingToken
from loadgen.protocol.appsync.auth import ApiKey, BearerToken, Credential
from loadgen.protocol.mqtt.auth import ClientCertificate, UserPassword

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

_log = logging.getLogger(__name__)


def secret_of(login: "Login", host: str) -> Credential | UserPassword | ClientCertificate:
    """Return the credential that a login describes, for the target at ``host``.

    Secrets are obtained once at this point, so that an unusable login fails here.

    Raises:
        CredentialError: a secret is missing or cannot be obtained.
    """
    _demand_common(login)
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


def _demand_common(login: "Login") -> None:
    """Raise CredentialError if this login, which all clients share, refers to data columns.

    Only the login of a client group may do that.
    """
    if columns := login.columns:
        raise CredentialError(
            f"the login has {{{columns[0]}}}, a client's own value, which only the login of a group can use: write it"
            " as clients.GROUP.login in the scenario"
        )


def credential(login: "Login", http_host: str) -> Credential:
    """Return the credential that a login describes, for the Event API at ``http_host``.

    Keys and tokens are fetched once at this point, so that an unusable login fails here.

    Raises:
        CredentialError: a secret is missing or cannot be obtained.
    """
    _demand_common(login)
    if login.mode == "api-key":
        if login.api_id is not None:
            return ApiKey(sources.from_appsync(appsync_client(login, http_host), login.api_id))
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
    if login.jwt is not None:
        from loadgen.credentials.minting import Minter

        return partial(Minter(login.jwt).mint, {})
    if login.token_env is not None:
        return partial(sources.from_variable, login.token_env)
    if login.token_file is not None:
        return partial(sources.from_file, login.token_file)
    if login.token_command is not None:
        announce(login.token_command)
        return partial(sources.from_command, login.token_command)
    return partial(fetcher(login, http_host), {})


def _iam(login: "Login", http_host: str) -> Credential:
    session = session_of(login.profile)
    from botocore.exceptions import BotoCoreError

    from loadgen.protocol.appsync.sigv4 import IamSignature

    region = region_of(login, session, http_host)
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
    """AWS credentials, renewed when needed. If renewal fails, the old ones stay in use.

    The run's record then shows how the service answers expired credentials.
    """

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
