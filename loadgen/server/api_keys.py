"""Make the server's API key, or read it from the environment; define the error for an invalid setting."""

import secrets
import string
from collections.abc import Mapping

_KEY_ALPHABET = string.ascii_lowercase + string.digits
_KEY_CHARACTERS = 26


class ConfigError(ValueError):
    """A setting is invalid; the message has one sentence for each problem."""


def generate_api_key() -> str:
    """Return a new random key in the format of AWS's (`da2-` and 26 characters)."""
    return "da2-" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_CHARACTERS))


def api_key_from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return the API key in an environment variable.

    Raises:
        ConfigError: the variable is unset or empty.
    """
    key = environment.get(name)
    if not key:
        raise ConfigError(f"environment variable {name!a} holds no API key: set it, or leave the option out")
    return key
