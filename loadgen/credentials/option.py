"""Parse the option `--auth`."""

from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from loadgen.config.part_file import read_part
from loadgen.config.problems import ScenarioError
from loadgen.config.text import nearest, shown
from loadgen.credentials.errors import CredentialError
from loadgen.scenario.login import AuthMode, Login

_MODES = get_args(AuthMode)
#: The login modes with two secrets. The first two texts of a mode are the keys of the login that name the secrets'
#: variables or files; the third is the form of the option.
_PAIRS = {
    "password": ("username_env", "password_env", "password:USER_VARIABLE:PASSWORD_VARIABLE"),
    "certificate": ("certificate", "key", "certificate:CERTIFICATE.pem:KEY.pem"),
}


def login_from_option(value: str) -> Login:
    """Return the login that the option describes.

    Raises:
        CredentialError: the option does not describe a login.
    """
    mode, _, name = value.partition(":")
    if mode in _PAIRS:
        return _pair(mode, name)
    if mode in _MODES:
        key = {"api-key": "key_env", "iam": "profile"}.get(mode, "token_env")
        if not name and mode != "iam":
            raise CredentialError(
                f"--auth {mode} lacks a name: write {mode}:NAME, NAME being an environment variable"
            )
        try:
            return Login.model_validate({"mode": mode, **({key: name} if name else {})})
        except ValidationError:
            # Do not repeat the value: the user may have typed the secret itself.
            raise CredentialError(
                f"--auth {mode}: what follows the colon must be the name of an environment variable,"
                " such as EVENTS_TOKEN"
            ) from None
    path = Path(value)
    if not path.is_file():
        raise CredentialError(
            f"--auth {shown(value)} is neither a mode nor a file{nearest(mode, _MODES)}: modes are {', '.join(_MODES)}"
        )
    try:
        return read_part(path, Login, "the login file", "{mode: iam}")
    except ScenarioError as error:
        raise CredentialError(str(error)) from None


def _pair(mode: str, names: str) -> Login:
    first_key, second_key, written = _PAIRS[mode]
    first, _, second = names.partition(":")
    if first and second:
        try:
            return Login.model_validate({"mode": mode, first_key: first, second_key: second})
        except ValidationError:
            pass
    # Do not repeat the value: the user may have typed the secret itself.
    raise CredentialError(
        f"--auth {mode} must be written {written}, with the names of variables, not their values"
    )
