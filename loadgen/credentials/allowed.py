"""Check that the command line permits the variables, files and commands that a file or a master names.

A scenario, a protocol file and a master may come from other people, so each variable and file that they name must be
permitted by name. Those that the command line itself names (`--auth`, `--api-key-env`) need no further permission.
"""

import os
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from analysis.record.places import Place, PlaceError
from loadgen.config.text import ENVIRONMENT_PATTERN, redacted, shown
from loadgen.credentials.errors import CredentialError
from loadgen.protocol.hosts import is_loopback

if TYPE_CHECKING:
    from loadgen.scenario.login import Login

_OF_AWS = re.compile(r"\.amazonaws\.com(\.cn)?(:\d+)?$")
#: Matches a URL whose scheme and host contain no data column, so that no row of data can change the host.
_FIXED_HOST = re.compile(r"https?://[^/{}?#]+([/?#]|$)")
_ENVIRONMENT = "_env"
_FILES = ("token_file", "certificate", "key")


@dataclass(frozen=True, slots=True)
class Allowed:
    """The permissions of a command line; by default there are none."""

    #: Names of the environment variables that may be read.
    variables: frozenset[str] = frozenset()
    #: Resolved paths of the files that may be read, and of folders whose whole content may be read.
    files: tuple[Path, ...] = ()
    #: True if a token command may run.
    commands: bool = False
    #: True if a token may be requested from an endpoint on another machine.
    remote: bool = False
    #: Place where rows may be stored with this process's credentials, as a URI, or None.
    storage: str | None = None

    @classmethod
    def of(
        cls,
        variables: Iterable[str] = (),
        files: Iterable[str | Path] = (),
        commands: bool = False,
        remote: bool = False,
        storage: str | None = None,
    ) -> "Allowed":
        """Return the permissions that the options grant.

        Raises:
            CredentialError: the name of a variable is not valid, or ``storage`` names no place.
        """
        names = frozenset(variables)
        for name in sorted(names):
            if not re.fullmatch(ENVIRONMENT_PATTERN, name):
                # Do not repeat the value: the user may have typed the secret itself.
                raise CredentialError(
                    "--allow-env takes the name of an environment variable, such as EVENTS_TOKEN, and not its value"
                )
        try:
            place = None if storage is None else Place.of(storage).uri
        except PlaceError as error:
            raise CredentialError(f"--spool-to: {error}") from None
        return cls(names, tuple(Path(os.path.realpath(file)) for file in files), commands, remote, place)

    @classmethod
    def of_options(cls, options: Any) -> "Allowed":
        """Return the permissions of a Locust process's options (see `loadgen.run.options`); raises CredentialError."""
        return cls.of(
            options.allow_env or (),
            options.allow_file or (),
            options.allow_commands,
            options.allow_remote,
            options.spool_to,
        )

    def demand_storage(self, uri: str) -> Place:
        """Return the place where a master has rows stored.

        Raises:
            CredentialError: this command line does not name that place, or it is none.
        """
        try:
            place = Place.of(uri)
        except PlaceError as error:
            raise CredentialError(f"the master names no place for rows: {error}") from None
        if place.uri != self.storage:
            raise CredentialError(
                f"the master has rows stored in {place.uri}, with the credentials of this machine: allow it with"
                f" --spool-to {place.uri}"
            )
        return place

    def environment(self, names: Iterable[str], whose: str, host: str) -> dict[str, str]:
        """Return the values of a protocol file's variables, except those that are not set.

        ``whose`` names the file, as the subject of an error sentence; ``host`` would receive the values.

        Raises:
            CredentialError: a variable is not allowed.
        """
        for name in sorted(names):
            self._demand_variable(name, whose, host)
        return {name: os.environ[name] for name in names if name in os.environ}

    def demand(self, login: "Login", whose: str, host: str) -> None:
        """Check that this command line permits a login that was given elsewhere.

        ``whose`` names its source, as the subject of an error sentence; ``host`` is the target's host.

        Raises:
            CredentialError: the login names a variable, a file or a command that is not allowed, or would send an API
                key fetched from AppSync to a host that is not AWS's.
        """
        receiver = redacted(shown(login.token_url)) if login.token_url is not None else host
        for field in type(login).model_fields:
            value = getattr(login, field)
            if value is not None and field.endswith(_ENVIRONMENT):
                self._demand_variable(value, whose, receiver)
        files = {field: getattr(login, field) for field in _FILES}
        if login.mode != "certificate":
            # With a certificate, `key` is the path of its private key; with other logins it is an API key's text.
            files["key"] = None
        files["jwt"] = None if login.jwt is None else login.jwt.key_file
        for value in files.values():
            if value is not None and not self._has_file(value):
                raise CredentialError(
                    f"{whose} names the file {shown(value)} for its login to {host}: allow it with --allow-file"
                    f" {value!a}"
                )
        if login.token_command is not None and not self.commands:
            raise CredentialError(
                f"{whose} has a command run for a token, {shown(shlex.join(login.token_command))}: allow it with"
                " --allow-commands, if you know what it does"
            )
        if (
            login.token_url is not None
            and login.columns_at("token_url")
            and not _FIXED_HOST.match(login.token_url)
        ):
            raise CredentialError(
                f"{whose} takes the host of its token endpoint from data, so that secrets could go anywhere: write the"
                " host itself"
            )
        if login.token_url is not None and login.client_id_env is None and not self.remote:
            # A remote token endpoint needs a permission. A login with `client_id_env` already has one: the user allowed
            # the variable, knowing the endpoint. A login without `client_id_env` needs --allow-remote.
            name = urlsplit(login.token_url).hostname or ""
            if not is_loopback(name):
                raise CredentialError(
                    f"{whose} has tokens asked of {receiver}, which is not this machine: allow it with --allow-remote"
                )
        if login.api_id is not None and not _OF_AWS.search(host):
            raise CredentialError(
                f"{whose} has the API key of {shown(login.api_id)} fetched with your AWS credentials and sent to"
                f" {host}, which is not a host of AWS: give --target and --auth yourself"
            )

    def _demand_variable(self, name: str, whose: str, host: str) -> None:
        if name not in self.variables:
            raise CredentialError(
                f"{whose} names the environment variable {name}, whose value would go to {host}: allow it with"
                f" --allow-env {name}"
            )

    def _has_file(self, written: str) -> bool:
        path = Path(os.path.realpath(written))
        return any(path == allowed or path.is_relative_to(allowed) for allowed in self.files)


#: Permits nothing: no variable, file, command or remote token endpoint.
NOTHING = Allowed()
