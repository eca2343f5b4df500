"""An Event API described by a YAML file: namespaces, authorization, handlers and quotas."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from loadgen.config.base import MAPPING, WORD, Part
from loadgen.config.part_file import read_part
from loadgen.config.problems import ScenarioError
from loadgen.config.text import ENVIRONMENT_PATTERN, shown
from loadgen.config.units import DurationNs, EventRate, SizeBytes, problem
from loadgen.server.api_keys import ConfigError, api_key_from_environment
from loadgen.server.auth.access import AllowedModes
from loadgen.server.auth.api_key import ApiKeyAuthorizer
from loadgen.server.auth.base import Authorizer
from loadgen.server.auth.iam import IamAuthorizer, IamUser
from loadgen.server.auth.lambda_authorizer import TTL_MAX_S, LambdaAuthorizer
from loadgen.server.auth.tokens import JwtAuthorizer
from loadgen.server.definition import ApiDefinition
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace, is_namespace_name
from loadgen.server.quotas import Quotas

ModeName = Literal["API_KEY", "AWS_IAM", "AMAZON_COGNITO_USER_POOLS", "OPENID_CONNECT", "AWS_LAMBDA"]
Modes = Annotated[tuple[ModeName, ...], Field(strict=False)]
Variable = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)]
Reference = Annotated[str, StringConstraints(pattern=r"^[^:]+:[A-Za-z_][A-Za-z0-9_]*$")]
_SECOND_NS = 1_000_000_000


def _kind(value: object) -> str:
    return MAPPING if isinstance(value, dict | QuotaPart) else WORD


class ApiKeys(Part):
    """Keys beside the server's own."""

    keys_env: tuple[Variable, ...] = Field(default=(), strict=False)
    """Environment variables that hold further keys."""


class User(Part):
    """An IAM user of the local server; these are no AWS credentials."""

    access_key_id: str = Field(min_length=1, max_length=128)
    """The access key id, such as AKIALOCAL."""
    secret_env: Variable
    """Environment variable that holds the secret access key."""
    session_token_env: Variable | None = None
    """Environment variable that holds the session token, for temporary credentials."""
    account_id: str = "000000000000"
    """The account that handlers are told."""
    username: str = "local"
    """The name that handlers are told."""
    allow: tuple[str, ...] = Field(default=("*",), strict=False)
    """IAM actions: EventConnect, EventPublish, EventSubscribe, the latter two with /<namespace>; or *."""


class Iam(Part):
    """Signatures of these users."""

    region: str = "us-east-1"
    """The region of the credential scope."""
    users: tuple[User, ...] = Field(strict=False)
    """Who may sign."""


class Tokens(Part):
    """JSON Web Tokens of one issuer."""

    issuer: str
    """What the tokens' iss must be."""
    jwks: str
    """File with the issuer's public keys, as JSON Web Key Set."""
    client_id: str | None = None
    """Regular expression for aud, client_id or azp; any, where it is left out."""


class Lambda(Part):
    """A Python function that decides."""

    function: Reference
    """module:function or path/to/file.py:function."""
    ttl_ns: DurationNs = Field(default=0, alias="ttl")
    """For how long an answer is kept; at most an hour."""

    @model_validator(mode="after")
    def _ttl_in_range(self) -> Self:
        if self.ttl_ns > TTL_MAX_S * _SECOND_NS:
            raise problem(f"has a ttl above {TTL_MAX_S}s, the longest that AWS allows")
        return self


class Auth(Part):
    """How clients prove who they are. The server's own API key is always there."""

    api_key: ApiKeys = ApiKeys()
    """API keys."""
    iam: Iam | None = None
    """IAM signatures."""
    cognito: Tokens | None = None
    """Tokens of a Cognito user pool."""
    oidc: Tokens | None = None
    """Tokens of another OpenID Connect provider."""
    lambda_: Lambda | None = Field(default=None, alias="lambda")
    """A Lambda authorizer."""
    connect: Modes = ("API_KEY",)
    """Modes that may connect."""
    publish: Modes = ("API_KEY",)
    """Modes that may publish where a namespace does not say otherwise."""
    subscribe: Modes = ("API_KEY",)
    """Modes that may subscribe where a namespace does not say otherwise."""


class NamespacePart(Part):
    """What a namespace overrides."""

    publish: Modes | None = None
    """Modes that may publish here."""
    subscribe: Modes | None = None
    """Modes that may subscribe here."""
    on_publish: Reference | None = None
    """Handler of publishes: module:function or path/to/file.py:function."""
    on_subscribe: Reference | None = None
    """Handler of subscriptions."""


class QuotaPart(Part):
    """Quotas one by one; `off` for none, and what is left out is off too."""

    subscriptions_per_connection: int | None = Field(default=None, ge=1)
    """Subscriptions of one connection."""
    event_bytes: SizeBytes | None = Field(default=None, alias="event")
    """Size of one event."""
    payload_bytes: SizeBytes | None = Field(default=None, alias="payload")
    """Size of one publish request's events."""
    publishes_per_connection_per_s: EventRate | None = Field(default=None, alias="publishes_per_connection")
    """Publish requests of one WebSocket connection, such as 25/s."""
    connections_per_s: EventRate | None = Field(default=None, alias="connections")
    """New connections, such as 2000/s."""
    inbound_events_per_s: EventRate | None = Field(default=None, alias="inbound_events")
    """Published events, such as 10000/s."""
    outbound_messages_per_s: EventRate | None = Field(default=None, alias="outbound_messages")
    """Deliveries in units of 5 KB, such as 1000000/s."""


class ApiFile(Part):
    """An Event API; everything may be left out."""

    auth: Auth = Auth()
    """Authorization; API key only, where it is left out."""
    namespaces: dict[str, NamespacePart | None] = Field(default={"default": None}, min_length=1)
    """Channel namespaces by name, with what they override."""
    quotas: (
        Annotated[
            Annotated[Literal["aws", "limits", "off"], Tag(WORD)] | Annotated[QuotaPart, Tag(MAPPING)],
            Discriminator(_kind),
        ]
        | None
    ) = None
    """aws: AWS's defaults; limits: those of single requests and connections, no rates; off; or one by one."""


def load_api_file(path: Path) -> ApiFile:
    """Read a description from a file.

    Raises:
        ConfigError: it cannot be read, or says what cannot be; a line for each problem.
    """
    try:
        return read_part(path, ApiFile, "the API file", "{namespaces: {chat: {}}}")
    except ScenarioError as error:
        raise ConfigError(str(error)) from None


def quotas_of(part: str | QuotaPart | None) -> Quotas:
    """Return the quotas of a preset's name or of a description."""
    if isinstance(part, QuotaPart):
        return Quotas(**{name: getattr(part, name) for name in QuotaPart.model_fields})
    return {"aws": Quotas.aws, "off": Quotas.off}.get(part or "limits", Quotas)()


def define(file: ApiFile, folder: Path, api_key: str, environment: Mapping[str, str]) -> ApiDefinition:
    """Return the API that a file describes; `folder` is what its relative paths start from.

    Raises:
        ConfigError: a secret is not in the environment, a file or function cannot be loaded, or a mode is used that is
            not described.
    """
    auth = file.auth
    authorizers = _authorizers(auth, folder, api_key, environment)
    described = {authorizer.mode for authorizer in authorizers}
    namespaces = []
    for name, part in file.namespaces.items():
        if not is_namespace_name(name):
            raise ConfigError(
                f"namespace {name!a} is not one: 1-50 letters, digits and dashes, no dash at either end"
            )
        part = part or NamespacePart()
        namespaces.append(
            Namespace(
                name,
                _modes(part.publish, described, f"namespaces.{name}.publish"),
                _modes(part.subscribe, described, f"namespaces.{name}.subscribe"),
                _function(part.on_publish, folder),
                _function(part.on_subscribe, folder),
            )
        )
    connect, publish, subscribe = (
        _modes(modes, described, f"auth.{what}") or frozenset()
        for what, modes in (
            ("connect", auth.connect),
            ("publish", auth.publish),
            ("subscribe", auth.subscribe),
        )
    )
    return ApiDefinition(namespaces, authorizers, AllowedModes(connect, publish, subscribe))


def _authorizers(auth: Auth, folder: Path, api_key: str, environment: Mapping[str, str]) -> list[Authorizer]:
    keys = [api_key, *(api_key_from_environment(name, environment) for name in auth.api_key.keys_env)]
    authorizers: list[Authorizer] = [ApiKeyAuthorizer(keys)]
    if auth.iam is not None:
        users = [
            IamUser(
                user.access_key_id,
                _secret(user.secret_env, environment),
                _secret(user.session_token_env, environment) if user.session_token_env else None,
                user.account_id,
                user.username,
                user.allow,
            )
            for user in auth.iam.users
        ]
        authorizers.append(IamAuthorizer(users, auth.iam.region))
    for mode, tokens in ((Mode.COGNITO, auth.cognito), (Mode.OIDC, auth.oidc)):
        if tokens is not None:
            authorizers.append(_jwt_authorizer(mode, tokens, folder))
    if auth.lambda_ is not None:
        function = _function(auth.lambda_.function, folder)
        assert function is not None
        authorizers.append(LambdaAuthorizer(function, auth.lambda_.ttl_ns / _SECOND_NS))
    return authorizers


def _jwt_authorizer(mode: Mode, tokens: Tokens, folder: Path) -> JwtAuthorizer:
    path = folder / tokens.jwks
    try:
        return JwtAuthorizer(mode, tokens.issuer, path, tokens.client_id)
    except OSError as error:
        raise ConfigError(f"the JWKS file {shown(str(path))} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(
            f'{shown(str(path))} is not a JSON Web Key Set: give it {{"keys": [...]}}'
        ) from None


def _secret(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name)
    if not value:
        raise ConfigError(
            f"environment variable {name!a} is not set: export it, or take its user out of the API file"
        )
    return value


def _modes(names: tuple[str, ...] | None, described: set[Mode], where: str) -> frozenset[Mode] | None:
    if names is None:
        return None
    modes = frozenset(map(Mode, names))
    for mode in sorted(modes - described, key=lambda mode: mode.value):
        part = {Mode.IAM: "iam", Mode.COGNITO: "cognito", Mode.OIDC: "oidc", Mode.LAMBDA: "lambda"}[mode]
        raise ConfigError(f"{where} allows {mode.value}, which auth does not describe: add 'auth.{part}'")
    return modes


def _function(reference: str | None, folder: Path) -> Callable[..., Any] | None:
    """Return the function behind `module:function` or `path/to/file.py:function`.

    Raises:
        ConfigError: there is none; whatever its module raises is told in one line.
    """
    if reference is None:
        return None
    source, _, name = reference.rpartition(":")
    try:
        if source.endswith(".py"):
            path = folder / source
            spec = importlib.util.spec_from_file_location(f"_loadgen_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[module.__name__] = module
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(source)
        function = getattr(module, name)
    except Exception as error:
        raise ConfigError(f"{reference!a} cannot be loaded: {type(error).__name__}: {error}") from None
    if not callable(function):
        raise ConfigError(f"{reference!a} is not a function")
    return function  # type: ignore[no-any-return]
