"""The functions that fetch a token by command, endpoint or user pool, with a client's own values if it has some."""

import os
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from loadgen.console import say
from loadgen.credentials import sources
from loadgen.credentials.aws_clients import cognito_client
from loadgen.credentials.refreshing import FetchedToken
from loadgen.data.cells import Cell
from loadgen.scenario.login_columns import filled

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

Values = Mapping[str, Cell]

_SHOWN_CHARACTERS = 500


@cache
def announce(words: tuple[str, ...]) -> None:
    """Print the command that is run for a token, once per process."""
    shown = shlex.join(words)
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:_SHOWN_CHARACTERS]}…"
    say(f"the login runs a command for its token: {shown}")


def text_or_variable(text: str | None, variable: str | None) -> Callable[[Values], str]:
    """Return a function that takes a client's values and returns the text to send.

    If ``text`` is given, it is a template that the function fills with the values. Otherwise the function always
    returns the value of the environment variable ``variable``.

    Raises:
        CredentialError: the variable is not set.
    """
    if text is not None:
        return lambda values: filled(text, values)
    assert variable is not None
    common = sources.from_environment(variable, os.environ)
    return lambda values: common


def fetcher(login: "Login", host: str) -> Callable[[Values], FetchedToken]:
    """Return the function that fetches a client's token by command, endpoint or user pool; it raises CredentialError.

    Raises:
        CredentialError: a secret that is common to all clients is missing.
    """
    if login.token_command is not None:
        words = login.token_command
        announce(words)
        return lambda values: sources.from_command([filled(word, values) for word in words])
    if login.mode == "cognito":
        return _from_user_pool(login, host)
    url = login.token_url
    assert url is not None
    if login.client_id_env is None:
        return lambda values: sources.from_endpoint(_url(url, values))
    client_id = sources.from_environment(login.client_id_env)
    secret = None if login.client_secret_env is None else sources.from_environment(login.client_secret_env)
    scope = login.scope
    if login.username is None and login.username_env is None:
        assert secret is not None
        return lambda values: sources.from_client_credentials(_url(url, values), client_id, secret, scope)
    username = text_or_variable(login.username, login.username_env)
    password = text_or_variable(login.password, login.password_env)
    return lambda values: sources.from_password_grant(
        _url(url, values), client_id, secret, scope, username(values), password(values)
    )


def _url(url: str, values: Values) -> str:
    from urllib.parse import quote

    return filled(url, {name: quote(str(cell), safe="") for name, cell in values.items()})


def _from_user_pool(login: "Login", host: str) -> Callable[[Values], FetchedToken]:
    assert login.client_id_env is not None
    client, client_id = cognito_client(login, host), sources.from_environment(login.client_id_env)
    username = text_or_variable(login.username, login.username_env)
    password = text_or_variable(login.password, login.password_env)
    if login.flow == "srp":
        pool = login.user_pool or ""
        return lambda values: sources.from_user_pool_by_srp(
            client, pool, client_id, username(values), password(values)
        )
    return lambda values: sources.from_user_pool(client, client_id, username(values), password(values))
