"""Placeholders such as `{login.token}`, by which a protocol file places a client's own login in what it sends."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.protocol.appsync.auth import ApiKey, BearerToken
from loadgen.protocol.mqtt.auth import UserPassword

#: The placeholders of each kind of credential, and the login modes (`loadgen.scenario.login.Login`) that provide it.
KINDS: Final[Mapping[frozenset[str], frozenset[str]]] = {
    frozenset({"login.token"}): frozenset({"lambda", "oidc", "cognito"}),
    frozenset({"login.key"}): frozenset({"api-key"}),
    frozenset({"login.username", "login.password"}): frozenset({"password"}),
}
PLACEHOLDERS: Final = tuple(sorted(name for names in KINDS for name in names))
#: Number of recent secrets to hide in the service's messages: the service may echo a secret from before a renewal.
_KEPT: Final = 8


def modes_of(names: frozenset[str]) -> frozenset[str]:
    """Return the login modes that provide the values of these placeholders; an empty set without placeholders.

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


def plain_problem(value: str, before: str, after: str) -> str | None:
    """Return why a value must not be filled into a text outside JSON, without showing the value, or None if it may.

    ``before`` and ``after`` are the characters around the placeholder. The service must be able to tell where the value
    ends.
    """
    quoted = before == after and before in ("'", '"') and before != ""
    if not value:
        return "empty"
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in value):
        return "text with a control character, such as the end of a line"
    if quoted and "\\" in value:
        return "text with a backslash, between quotes"
    if not quoted and any(character.isspace() for character in value):
        return "text with a space, outside quotes"
    if after and after in value:
        return f"text with the character {after!a}, which follows it there"
    return None


class FileLogin:
    """A client's credential as values for the placeholders of a protocol file; `repr` shows no secret."""

    __slots__ = ("_credential", "_used")

    def __init__(self, credential: Any) -> None:
        """``credential`` is an `ApiKey`, a `BearerToken` or a `UserPassword`."""
        self._credential = credential
        self._used: deque[str] = deque(maxlen=_KEPT)

    def values(self) -> dict[str, str]:
        """Return the current values of the placeholders; a token is renewed when it is due."""
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
        """Yield each secret value that was used, with the text to show in its place."""
        for value in self._used:
            yield value, "{login}"
