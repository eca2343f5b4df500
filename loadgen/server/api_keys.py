"""The server's own API key, and the error of a setting that cannot be."""

import secrets
import string
from collections.abc import Mapping

_KEY_ALPHABET = string.ascii_lowercase + string.digits
_KEY_CHARACTERS = 26


class ConfigError(ValueError):
    """A setting that cannot be; the message is one sentence."""


def generate_api_key() -> str:
    """Return a fresh key in the shape of AWS's."""
    return "da2-" + "".join(secrets.choice(_KEY_ALPHABET) for _ in range(_KEY_CHARACTERS))


def api_key_from_environment(name: str, environment: Mapping[str, str]) -> str:
    """Return the key that an environment variable holds.

    Raises:
        ConfigError: the variable is not set or empty.
    """
    key = environment.get(name)
    if not key:
        raise ConfigError(f"environment variable {name!a} holds no API key: set it, or leave the option out")
    return key
