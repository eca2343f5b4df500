"""The login to a target: the names of variables, files and columns that hold secrets, never the secrets."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from loadgen.config.base import Part
from loadgen.config.text import ENVIRONMENT_PATTERN
from loadgen.config.units import LoginRate, PositiveDurationNs, problem
from loadgen.scenario.login_columns import COLUMN_KEYS, SECRET_KEYS, columns_of

Variable = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)]
AuthMode = Literal["api-key", "iam", "cognito", "oidc", "lambda", "password", "certificate"]

_TOKEN = frozenset({"token", "token_env", "token_file", "token_command", "jwt"})
_NAME = frozenset({"username", "username_env", "password", "password_env"})
_CLIENT = frozenset({"token_url", "client_id_env", "client_secret_env", "scope"}) | _NAME
_USER = frozenset({"region", "client_id_env", "flow", "user_pool"}) | _NAME
_KEYS = {
    "api-key": frozenset({"key", "key_env", "api_id", "profile", "region"}),
    "iam": frozenset({"profile", "region"}),
    "lambda": _TOKEN | {"token_url", "rate"},
    "oidc": _TOKEN | _CLIENT | {"rate"},
    "cognito": _TOKEN | _USER | {"rate"},
    "password": _NAME,
    "certificate": frozenset({"certificate", "key"}),
}
_HOUR_NS = 3_600_000_000_000
#: Claims that `expires` sets, so `claims` must not.
_OWN_CLAIMS = ("exp", "iat")


class Minting(Part):
    """Tokens that the load generator makes: JWTs signed with a local key, so that no identity provider is needed."""

    key_file: str
    """The path of the private key (PEM). RS256 needs an RSA key. ES256 needs a P-256 key and takes a sixth of the CPU
    time."""
    kid: str | None = None
    """The key's id, as in the service's JWKS."""
    algorithm: Literal["RS256", "ES256"] = "RS256"
    """The algorithm that signs the tokens."""
    expires_ns: PositiveDurationNs = Field(default=_HOUR_NS, alias="expires")
    """How long a token is valid. Each client's token is renewed after half to four fifths of this time, at a different
    moment for each client."""
    claims: Mapping[str, Any] = Field(default_factory=dict)
    """The claims of the token, such as iss, aud and sub, with {name.column} for a client's own values. The load
    generator adds exp and iat."""

    @model_validator(mode="after")
    def _claims_are_free(self) -> Self:
        for name in _OWN_CLAIMS:
            if name in self.claims:
                raise problem(f"has the claim {name}, which 'expires' sets; drop it")
        return self


class Login(Part):
    """A login: its authorization mode, and where its secrets are found."""

    mode: AuthMode
    """For AppSync APIs and API Gateway: api-key, iam (SigV4 with AWS credentials), or a mode with a token: cognito,
    oidc, lambda. For MQTT brokers: password, certificate (X.509), or iam for AWS IoT Core over WebSocket. A client of a
    broker without a login is anonymous."""
    token: str | None = None
    """cognito, oidc, lambda: a client's own token, as in "{people.token}"; only in a group's login."""
    key_env: Variable | None = None
    """api-key: the environment variable that holds the key."""
    api_id: str | None = None
    """api-key: the id of an Event API. Its key is then fetched from AppSync with AWS credentials, and stored
    nowhere."""
    profile: str | None = None
    """iam, api_id: the profile of the AWS configuration. Without it, AWS credentials are found as by other AWS tools:
    environment variables come before the default profile."""
    region: str | None = None
    """iam, cognito, api_id: the AWS region. Without it, the region of the URL is used, or else of the environment, or
    else of the profile."""
    token_env: Variable | None = None
    """cognito, oidc, lambda: the environment variable that holds the token. This token cannot be renewed."""
    token_file: str | None = None
    """cognito, oidc, lambda: a file that holds the token. It is read again before the token expires."""
    token_command: tuple[str, ...] | None = Field(default=None, strict=False, min_length=1)
    """cognito, oidc, lambda: a command, as a list of words, that prints the token. It runs again before the token
    expires. The record of a run holds the words, so they must not contain a secret. In a scenario the command needs
    --allow-commands. In the login of a group, a word may contain a column; the command then runs once for each
    client."""
    token_url: str | None = None
    """oidc: the token endpoint, for the client credentials grant or, if a user name and password are given, the
    password grant. lambda: an endpoint that answers GET with the token, or with JSON that has token or access_token. In
    the login of a group, the URL may contain a column; it is then requested once for each client."""
    client_id_env: Variable | None = None
    """oidc, cognito: the environment variable that holds the client's id."""
    client_secret_env: Variable | None = None
    """oidc: the environment variable that holds the client's secret."""
    scope: str | None = None
    """oidc: the scope to ask for; by default none is sent."""
    username: str | None = None
    """cognito, oidc, password: a client's own user name, as in "{people.name}"; only in a group's login."""
    password: str | None = None
    """cognito, oidc, password: a client's own password, as in "{people.password}"; only in a group's login."""
    flow: Literal["password", "srp"] | None = None
    """cognito: how the user pool checks the password. password: USER_PASSWORD_AUTH, the default. srp: USER_SRP_AUTH."""
    user_pool: str | None = None
    """cognito: the id of the user pool, such as eu-west-1_Ab12Cd. Only flow srp needs it."""
    jwt: Minting | None = None
    """cognito, oidc, lambda: tokens that the load generator makes and signs itself."""
    rate_per_s: LoginRate | None = Field(default=None, alias="rate")
    """The maximum number of logins per second, over all clients, by a command, endpoint or user pool; default is
    20/s."""
    username_env: Variable | None = None
    """cognito, oidc, password: the environment variable that holds the user's name."""
    password_env: Variable | None = None
    """cognito, oidc, password: the environment variable that holds the user's password."""
    certificate: str | None = None
    """certificate: the path of the client's certificate chain (PEM)."""
    key: str | None = None
    """certificate: the path of the certificate's private key (PEM). api-key: a client's own key, as in "{people.key}",
    only in a group's login."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = self.given
        if foreign := sorted(given - _KEYS[self.mode]):
            raise problem(f"has {foreign[0]}, which mode {self.mode} does not take; drop it")
        for name in ("username", "password"):
            if {name, f"{name}_env"} <= given:
                raise problem(f"has both {name} and {name}_env; keep one")
        for name in _OF_A_CLIENT:
            # Do not quote the value in the error: it may be the secret itself.
            if name in given and not (name == "key" and self.mode == "certificate") and not self._has(name):
                raise problem(
                    f'has a {name} without a column of data; write "{{NAME.COLUMN}}",'
                    + (" or name a variable with " + _VARIABLES[name])
                )
        if self.mode == "api-key":
            self._has_a_key(given)
        if self.mode in ("lambda", "oidc", "cognito"):
            self._has_a_token(given)
        if self.mode == "certificate" and (missing := sorted(_KEYS[self.mode] - given)):
            raise problem(f"has no {missing[0]}, which mode {self.mode} needs; add it")
        if self.mode == "password":
            for name in ("username", "password"):
                if not given & {name, f"{name}_env"}:
                    raise problem(f"has no {name}_env, which mode {self.mode} needs; add it")
        if "rate" in given and not given & {"token_command", "token_url", "client_id_env"}:
            raise problem("has a rate, and its source needs none; drop it")
        return self

    @property
    def given(self) -> frozenset[str]:
        """The keys that are set, except the mode."""
        return frozenset(
            info.alias or name
            for name, info in type(self).model_fields.items()
            if name != "mode" and getattr(self, name)
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of data whose values make a client's own login, such as ``people.token``."""
        return tuple(dict.fromkeys(name for key in COLUMN_KEYS for name in self.columns_at(key)))

    @property
    def secret_columns(self) -> tuple[str, ...]:
        """The data columns that this login uses in keys whose values are secrets."""
        return tuple(dict.fromkeys(name for key in SECRET_KEYS for name in self.columns_at(key)))

    def columns_at(self, key: str) -> tuple[str, ...]:
        """Return the columns in the value of a key."""
        if key == "jwt":
            return () if self.jwt is None else tuple(columns_of(self.jwt.claims))
        return tuple(columns_of(getattr(self, key)))

    def as_data(self) -> dict[str, Any]:
        """Return the login as plain JSON values, from which `model_validate` makes it again; they hold no secret."""
        found: dict[str, Any] = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return found

    def _describe_endpoint(self) -> str:
        if self.mode == "lambda":
            return "an endpoint"
        by_user = self.given & {"username", "username_env"}
        return "an endpoint, by user and password" if by_user else "client credentials"

    def _has(self, key: str) -> bool:
        return bool(self.columns_at(key))

    def _has_a_key(self, given: frozenset[str]) -> None:
        sources = sorted(given & {"key", "key_env", "api_id"})
        if not sources:
            raise problem("has no key_env; name the environment variable that holds the API key")
        if len(sources) > 1:
            # Name `key_env` first in the error, as the documentation does.
            first, second = sorted(sources[:2], key=lambda name: name != "key_env")
            raise problem(f"names two sources of the key, {first} and {second}; keep one")
        if sources != ["api_id"] and (foreign := sorted(given & {"profile", "region"})):
            raise problem(f"has {foreign[0]}, which goes with api_id and not with {sources[0]}; drop it")

    def _has_a_token(self, given: frozenset[str]) -> None:
        flow = given - _TOKEN - {"rate"}
        ways = len(given & _TOKEN) + bool(flow)
        if ways > 1:
            raise problem("names more than one source of the token; keep one")
        if ways == 0:
            raise problem("names no source of the token; add token_env, token_file or token_command")
        if not flow:
            return
        names = {each.removesuffix("_env") for each in flow}
        wanted = {
            "oidc": {"token_url", "client_id", "client_secret"},
            "cognito": {"client_id", "username", "password"}
            | ({"user_pool"} if self.flow == "srp" else set()),
        }.get(self.mode, set())
        if self.mode == "oidc" and names & {"username", "password"}:
            # `client_secret_env` is not needed: a public client has no secret.
            wanted = {"token_url", "client_id", "username", "password"}
        if missing := sorted(wanted - names):
            name = missing[0] if missing[0] in ("token_url", "user_pool") else f"{missing[0]}_env"
            raise problem(f"has no {name}, which goes with {', '.join(sorted(flow))}; add it")

    def describe(self, files: Mapping[str, str] | None = None) -> str:
        """Return the mode and the source of the secret in one phrase, without a secret.

        ``files`` maps the names of data to their files.
        """
        whose = f"profile {self.profile!a}" if self.profile else "each process"
        source = {
            "key": f"file {self.certificate!a}",
            "key_env": f"${self.key_env}",
            "api_id": f"AppSync, by the AWS credentials of {whose}",
            "token_env": f"${self.token_env}",
            "token_file": f"file {self.token_file!a}",
            "token_command": "a command",
            "jwt": "JWTs signed here" if self.jwt is None else f"JWTs signed here by {self.jwt.key_file!a}",
            "token_url": self._describe_endpoint(),
            "username_env": "user and password",
            "username": "user and password",
            "certificate": f"file {self.certificate!a}",
            "profile": f"profile {self.profile!a}",
        }
        if self.mode == "cognito":
            source["username"] = source["username_env"] = f"a user pool, flow {self.flow or 'password'}"
        sources = [text for name, text in source.items() if name in self.given]
        found = f"{self.mode} from {sources[0]}" if sources else f"{self.mode} from the environment"
        if not (columns := self.columns):
            return found
        told = " and ".join(_told(name, files or {}) for name in columns)
        if self.token is not None or (self.mode == "api-key" and self.key is not None):
            return f"{self.mode} from {told}"
        return f"{found}, for each client by {told}"


#: Keys whose values must have data columns in braces. For a value that all clients share, a login names an environment
#: variable instead, by a key of `_VARIABLES`.
_OF_A_CLIENT: Final = ("token", "key", "username", "password")
_VARIABLES: Final = {
    "token": "token_env",
    "key": "key_env",
    "username": "username_env",
    "password": "password_env",
}


def _told(name: str, files: Mapping[str, str]) -> str:
    source = name.partition(".")[0]
    of = f" of {files[source]}" if source in files else ""
    return f"column {name}{of}"
