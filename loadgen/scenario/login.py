"""The login to a target: the names of variables and files that hold secrets, never the secrets."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from loadgen.config.base import Part
from loadgen.config.text import ENVIRONMENT_PATTERN
from loadgen.config.units import problem

Variable = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)]
AuthMode = Literal["api-key", "iam", "cognito", "oidc", "lambda", "password", "certificate"]

_TOKEN = frozenset({"token_env", "token_file", "token_command"})
_CLIENT = frozenset({"token_url", "client_id_env", "client_secret_env", "scope"})
_USER = frozenset({"region", "client_id_env", "username_env", "password_env"})
_KEYS = {
    "api-key": frozenset({"key_env", "api_id", "profile", "region"}),
    "iam": frozenset({"profile", "region"}),
    "lambda": _TOKEN,
    "oidc": _TOKEN | _CLIENT,
    "cognito": _TOKEN | _USER,
    "password": frozenset({"username_env", "password_env"}),
    "certificate": frozenset({"certificate", "key"}),
}


class Login(Part):
    """The authorization mode, and the places of its secrets."""

    mode: AuthMode
    """For Event APIs: api-key, iam (SigV4 with AWS credentials), or with a token cognito, oidc or lambda. For MQTT
    brokers: password, or certificate (X.509); without a login the client is anonymous."""
    key_env: Variable | None = None
    """api-key: the environment variable that holds the key."""
    api_id: str | None = None
    """api-key: the id of an Event API, whose key is then fetched from AppSync with AWS credentials and stored
    nowhere."""
    profile: str | None = None
    """iam, api_id: the profile of the AWS configuration; default is that of other AWS tools, the environment first."""
    region: str | None = None
    """iam, cognito, api_id: the AWS region; default is the region in the URL, the environment or the profile."""
    token_env: Variable | None = None
    """The environment variable that holds the token, which cannot be renewed."""
    token_file: str | None = None
    """A file that holds the token; it is read again before the token expires."""
    token_command: tuple[str, ...] | None = Field(default=None, strict=False, min_length=1)
    """A command, as a list of words, that prints the token; it runs again before the token expires. The words are kept
    on record, so they must not contain a secret. In a scenario the command needs --allow-commands."""
    token_url: str | None = None
    """oidc: the token endpoint for the client credentials grant."""
    client_id_env: Variable | None = None
    """oidc, cognito: the environment variable that holds the client's id."""
    client_secret_env: Variable | None = None
    """oidc: the environment variable that holds the client's secret."""
    scope: str | None = None
    """oidc: the scope to ask for."""
    username_env: Variable | None = None
    """cognito, password: the environment variable that holds the user's name."""
    password_env: Variable | None = None
    """cognito, password: the environment variable that holds the user's password."""
    certificate: str | None = None
    """certificate: the path of the client's certificate chain (PEM)."""
    key: str | None = None
    """certificate: the path of the certificate's private key (PEM)."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.given
        if foreign := sorted(given - _KEYS[self.mode]):
            raise problem(f"has {foreign[0]}, which mode {self.mode} does not take; drop it")
        if self.mode == "api-key" and self.api_id is None:
            if self.key_env is None:
                raise problem("has no key_env; name the environment variable that holds the API key")
            if foreign := sorted(given & {"profile", "region"}):
                raise problem(f"has {foreign[0]}, which goes with api_id and not with key_env; drop it")
        if self.key_env is not None and self.api_id is not None:
            raise problem("names two sources of the key, key_env and api_id; keep one")
        if self.mode in ("lambda", "oidc", "cognito"):
            self._has_a_token(given)
        if self.mode in ("password", "certificate") and (missing := sorted(_KEYS[self.mode] - given)):
            raise problem(f"has no {missing[0]}, which mode {self.mode} needs; add it")
        return self

    @property
    def given(self) -> frozenset[str]:
        """The keys that are set, except the mode."""
        return frozenset(name for name in type(self).model_fields if name != "mode" and getattr(self, name))

    def _has_a_token(self, given: frozenset[str]) -> None:
        flow = given - _TOKEN
        ways = len(given & _TOKEN) + bool(flow)
        if ways > 1:
            raise problem("names more than one source of the token; keep one")
        if ways == 0:
            raise problem("names no source of the token; add token_env, token_file or token_command")
        wanted = {
            "oidc": {"token_url", "client_id_env", "client_secret_env"},
            "cognito": {"client_id_env", "username_env", "password_env"},
        }.get(self.mode, set())
        if flow and (missing := sorted(wanted - flow)):
            raise problem(f"has no {missing[0]}, which goes with {', '.join(sorted(flow))}; add it")

    def describe(self) -> str:
        """Return the mode and the source of the secret in one phrase, without a secret."""
        whose = f"profile {self.profile!a}" if self.profile else "each process"
        source = {
            "key_env": f"${self.key_env}",
            "api_id": f"AppSync, by the AWS credentials of {whose}",
            "token_env": f"${self.token_env}",
            "token_file": f"file {self.token_file!a}",
            "token_command": "a command",
            "token_url": "client credentials",
            "username_env": "user and password",
            "certificate": f"file {self.certificate!a}",
            "profile": f"profile {self.profile!a}",
        }
        sources = [text for name, text in source.items() if name in self.given]
        return f"{self.mode} from {sources[0]}" if sources else f"{self.mode} from the environment"
