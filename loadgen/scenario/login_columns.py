"""Find and replace references to data columns in the login settings: `{people.token}` stands for a client's own value.

Braces around any other text are kept as they are, since commands and URLs may contain braces.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.data.cells import Cell, text_of

#: Keys of `loadgen.scenario.login.Login` whose value may contain data columns. In the keys of `SECRET_KEYS` these
#: columns hold secrets.
COLUMN_KEYS: Final = (
    "token",
    "key",
    "username",
    "password",
    "token_command",
    "token_url",
    "certificate",
    "jwt",
)
SECRET_KEYS: Final = ("token", "key", "password")
#: Logins per second if a scenario gives no rate.
DEFAULT_RATE_PER_S: Final = 20.0
_FETCHED: Final = ("token_command", "token_url", "client_id_env")
_COLUMN = re.compile(r"\{(?P<name>[A-Za-z][A-Za-z0-9_-]*\.[^{}]+)\}")


def columns_of(value: Any) -> Iterator[str]:
    """Yield the names of the columns in a text, or in the texts of a list or mapping, such as ``people.token``."""
    if isinstance(value, str):
        yield from (found["name"] for found in _COLUMN.finditer(value))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from columns_of(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from columns_of(each)


def filled(text: str, values: Mapping[str, Cell]) -> str:
    """Return the text with each column replaced by its value; raises KeyError if a value is missing."""
    return _COLUMN.sub(lambda found: text_of(values[found["name"]]), text)


def filled_json(value: Any, values: Mapping[str, Cell]) -> Any:
    """Return a JSON value with each column in its texts, such as ``{people.id}``, replaced by the column's value.

    A text that is one column and nothing else becomes the column's value, with its type. Raises KeyError if a value is
    missing.
    """
    if isinstance(value, str):
        whole = _COLUMN.fullmatch(value)
        return filled(value, values) if whole is None else values[whole["name"]]
    if isinstance(value, Mapping):
        return {key: filled_json(each, values) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [filled_json(each, values) for each in value]
    return value


def columns_in_data(login: Mapping[str, Any]) -> Iterator[str]:
    """Yield the columns of a login in the form of `loadgen.scenario.login.Login.as_data`."""
    for key in COLUMN_KEYS:
        value = login.get(key)
        yield from columns_of(value.get("claims") if key == "jwt" and isinstance(value, Mapping) else value)


def is_fetched(login: Mapping[str, Any]) -> bool:
    """Return True if a login's token comes from a command, endpoint or user pool; ``login`` is from `Login.as_data`."""
    return any(key in login for key in _FETCHED)


def rate_of(login: Mapping[str, Any]) -> float:
    """Return the maximum number of logins per second, from a login in the form of `Login.as_data`.

    Raises ValueError if the rate is invalid.
    """
    rate = login.get("rate")
    found = DEFAULT_RATE_PER_S if rate is None else float(str(rate).removesuffix("/s"))
    if not 0 < found < 1e9:
        raise ValueError("a login's rate must be above 0")
    return found
