"""A client's own login in a protocol file: `{login.token}` and others in headers and URLs."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.mqtt.auth import UserPassword

#: The placeholders of each kind of login, and the modes of `loadgen.scenario.login.Login` that give it.
KINDS: Final[Mapping[frozenset[str], frozenset[str]]] = {
    frozenset({"login.token"}): frozenset({"lambda", "oidc", "cognito"}),
    frozenset({"login.key"}): frozenset({"api-key"}),
    frozenset({"login.username", "login.password"}): frozenset({"password"}),
}
PLACEHOLDERS: Final = tuple(sorted(name for names in KINDS for name in names))
#: Values that are kept to be hidden in what the service says: a token may be renewed between two requests.
_KEPT: Final = 8


def modes_of(names: frozenset[str]) -> frozenset[str]:
    """Return the login modes that give the values of these placeholders; none if there are no placeholders.

    Raises:
        ValueError: no single login has all of them.
    """
    if not names:
        return frozenset()
    for known, modes in KINDS.items():
        if names <= known:
            return modes
    listed = " and ".join(f"{{{name}}}" for name in sorted(names))
    raise ValueError(f"has {listed}, which no single login gives")


class FileLogin:
    """The login that the placeholders of a protocol file stand for; `repr` shows nothing of it."""

    __slots__ = ("_credential", "_used")

    def __init__(self, credential: Any) -> None:
        """``credential`` is an `ApiKey`, a `BearerToken` or a `UserPassword`."""
        self._credential = credential
        self._used: deque[str] = deque(maxlen=_KEPT)

    def values(self) -> dict[str, str]:
        """Return the values of the placeholders now; a token is renewed when it is due."""
        credential = self._credential
        if isinstance(credential, BearerToken):
            found = {"login.token": credential.token()}
        elif isinstance(credential, ApiKey):
            found = {"login.key": credential.key}
        else:
            assert isinstance(credential, UserPassword)
            found = {"login.username": credential.username, "login.password": credential.password}
        for name, value in found.items():
            if name != "login.username" and value not in self._used:
                self._used.append(value)
        return found

    def secrets(self) -> Iterator[tuple[str, str]]:
        """Yield each secret value that was used, and what is shown in its place."""
        for value in self._used:
            yield value, "{login}"
