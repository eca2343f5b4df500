"""Make the credentials of single clients from the description of their login and from their own values."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from loadgen.credentials.build import secret_of
from loadgen.credentials.errors import CredentialError
from loadgen.credentials.fetchers import fetcher, text_or_variable
from loadgen.credentials.fetching import Fetching, Pace
from loadgen.credentials.minting import MintedToken, Minter
from loadgen.data.cells import Cell
from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.mqtt.auth import UserPassword
from loadgen.scenario.login_columns import DEFAULT_RATE_PER_S, filled

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

Values = Mapping[str, Cell]
OnTrouble = Callable[[int, str], None]


class Maker(Protocol):
    """Makes each client's credential, as a `login` of the scenario says."""

    def of(self, number: int, values: Values) -> Any:
        """Return the credential of the client with the global number ``number``; may block, to limit the login rate.

        Raises:
            CredentialError: the credential cannot be obtained; the message contains none of the client's values.
        """

    def stop(self) -> None:
        """Stop renewing tokens."""


def maker(
    login: "Login",
    host: str,
    *,
    seed: str,
    workers: int = 1,
    on_trouble: OnTrouble = lambda number, said: None,
) -> Maker:
    """Return the object that makes clients' credentials for a login to the target at ``host``.

    The login's rate is for all ``workers`` together. ``on_trouble`` is called with a client's number and a sentence if
    its token could not be renewed.

    Raises:
        CredentialError: a secret that is common to all clients is missing or cannot be obtained.
    """
    columns = login.columns
    if login.jwt is not None:
        return _Minted(Minter(login.jwt), seed, own=bool(columns))
    if not columns:
        return _Shared(secret_of(login, host))
    if login.token is not None:
        return _Column(login.token, lambda text: BearerToken(_Fixed(text)))
    if login.mode == "api-key":
        assert login.key is not None
        return _Column(login.key, ApiKey)
    if login.mode == "password":
        return _UserPasswords(login)
    pace = Pace((login.rate_per_s or DEFAULT_RATE_PER_S) / workers)
    return _Fetched(Fetching(fetcher(login, host), seed, pace, on_trouble))


class _Shared:
    """One credential for all clients."""

    def __init__(self, credential: Any) -> None:
        self._credential = credential

    def of(self, number: int, values: Values) -> Any:
        return self._credential

    def stop(self) -> None:
        pass


class _Fixed:
    """A callable that always returns the same token."""

    __slots__ = ("_token",)

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self) -> str:
        return self._token


class _Column(_Shared):
    """Tokens or keys from a data column, a different one for each client."""

    def __init__(self, text: str, credential: Callable[[str], Any]) -> None:
        self._text, self._make = text, credential

    def of(self, number: int, values: Values) -> Any:
        try:
            return self._make(filled(self._text, values))
        except ValueError:
            raise CredentialError("its key has characters that an HTTP header cannot hold") from None


class _UserPasswords(_Shared):
    """User and password of each client, from columns or variables."""

    def __init__(self, login: "Login") -> None:
        self._username = text_or_variable(login.username, login.username_env)
        self._password = text_or_variable(login.password, login.password_env)

    def of(self, number: int, values: Values) -> Any:
        return UserPassword(self._username(values), self._password(values))


class _Minted(_Shared):
    """JWTs that the load generator signs itself."""

    def __init__(self, minter: Minter, seed: str, *, own: bool) -> None:
        """With ``own``, each client has its own claims and token; else all share one. Raises CredentialError."""
        self._minter, self._seed = minter, seed
        self._common = None if own else BearerToken(MintedToken(minter, seed, -1, {}))

    def of(self, number: int, values: Values) -> Any:
        return self._common or BearerToken(MintedToken(self._minter, self._seed, number, values))


class _Fetched:
    """Tokens from a command, an endpoint or a user pool."""

    def __init__(self, fetching: Fetching) -> None:
        self._fetching = fetching

    def of(self, number: int, values: Values) -> Any:
        return BearerToken(self._fetching.token(number, values))

    def stop(self) -> None:
        self._fetching.stop()
