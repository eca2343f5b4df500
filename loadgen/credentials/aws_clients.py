"""botocore's sessions and clients for logins."""

import os
import re
from typing import TYPE_CHECKING, Any

from analysis import extras
from loadgen.credentials.errors import CredentialError
from loadgen.transport import proxy

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

_OF_HOST = re.compile(r"\.(?:appsync-api|execute-api|iot)\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")


def cognito_client(login: "Login", http_host: str) -> Any:
    """Return botocore's client for the user pools of a login's region; raises CredentialError."""
    _require_botocore()
    from botocore import UNSIGNED
    from botocore.config import Config

    session = session_of(None)
    return session.create_client(
        "cognito-idp",
        region_name=region_of(login, session, http_host),
        # Many users of a load test log in at once, more than botocore's 10 pooled connections by default.
        config=Config(signature_version=UNSIGNED, max_pool_connections=32),
    )


def appsync_client(login: "Login", http_host: str) -> Any:
    """Return botocore's client for AppSync's control plane; raises CredentialError."""
    session = session_of(login.profile)
    return session.create_client("appsync", region_name=region_of(login, session, http_host))


def session_of(profile: str | None) -> Any:
    """Return botocore's session for a profile or, if it is None, the default; raises CredentialError."""
    _require_botocore()
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


def _require_botocore() -> None:
    try:
        extras.require("aws", "a login by AWS (IAM, Cognito, or the key of an API)")
    except extras.ExtraMissingError as error:
        raise CredentialError(str(error)) from None


def region_of(login: "Login", session: Any, http_host: str) -> str:
    """Return the region from the login, the target's host, AWS_REGION or the session; raises CredentialError.

    The first of these that has a region decides.
    """
    of_host = _OF_HOST.search(http_host)
    region = login.region or (of_host["region"] if of_host else None) or os.environ.get("AWS_REGION")
    region = region or session.get_config_variable("region")
    if not region:
        raise CredentialError("the AWS region is not known: set AWS_REGION, or 'region' in the login")
    return str(region)
