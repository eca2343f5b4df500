"""The API file: a YAML description of an Event API's namespaces, authorization, handlers and quotas."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from analysis import extras
from loadgen.config.base import MAPPING, WORD, Part
from loadgen.config.part_file import read_part
from loadgen.config.problems import ScenarioError
from loadgen.config.text import ENVIRONMENT_PATTERN, REFERENCE_PATTERN, shown
from loadgen.config.units import DurationNs, EventRate, SizeBytes, problem
from loadgen.server.api_keys import ConfigError, api_key_from_environment
from loadgen.server.auth.access import AllowedModes
from loadgen.server.auth.api_key import ApiKeyAuthorizer
from loadgen.server.auth.base import Authorizer
from loadgen.server.auth.lambda_authorizer import TTL_MAX_S, LambdaAuthorizer
from loadgen.server.auth.tokens import JwtAuthorizer
from loadgen.server.definition import ApiDefinition
from loadgen.server.direct_lambda import direct
from loadgen.server.modes import Mode
from loadgen.server.namespaces import Namespace, is_namespace_name
from loadgen.server.quotas import Quotas

ModeName = Literal["API_KEY", "AWS_IAM", "AMAZON_COGNITO_USER_POOLS", "OPENID_CONNECT", "AWS_LAMBDA"]
Modes = Annotated[tuple[ModeName, ...], Field(strict=False)]
Variable = Annotated[str, StringConstraints(pattern=ENVIRONMENT_PATTERN)]
Reference = Annotated[str, StringConstraints(pattern=REFERENCE_PATTERN)]
_SECOND_NS = 1_000_000_000


def _kind(value: object) -> str:
    return MAPPING if isinstance(value, dict | Part) else WORD


class ApiKeys(Part):
    """API keys in addition to the server's own."""

    keys_env: tuple[Variable, ...] = Field(default=(), strict=False)
    """Environment variables that hold further keys."""


class User(Part):
    """An IAM user known to this server only; its keys are not AWS credentials."""

    access_key_id: str = Field(min_length=1, max_length=128)
    """The access key id, such as AKIALOCAL."""
    secret_env: Variable
    """Environment variable that holds the secret access key."""
    session_token_env: Variable | None = None
    """Environment variable that holds the session token, for temporary credentials."""
    account_id: str = "000000000000"
    """Account id that handlers see."""
    username: str = "local"
    """User name that handlers see."""
    allow: tuple[str, ...] = Field(default=("*",), strict=False)
    """Allowed IAM actions: EventConnect, EventPublish[/<namespace>], EventSubscribe[/<namespace>], or * for all."""


class Iam(Part):
    """Authorization by IAM signatures."""

    region: str = "us-east-1"
    """AWS region that signatures must name in their credential scope."""
    users: tuple[User, ...] = Field(strict=False)
    """Users whose signatures are accepted."""


class Tokens(Part):
    """The issuer, keys and clients by which JSON Web Tokens are verified."""

    issuer: str
    """Required iss claim of the tokens."""
    jwks: str
    """File with the issuer's public keys, as a JSON Web Key Set."""
    client_id: str | None = None
    """Regular expression that aud, client_id or azp must match; default: any client."""


class Lambda(Part):
    """A Lambda authorizer, implemented as a Python function."""

    function: Reference
    """The function, as module:function or path/to/file.py:function."""
    ttl_ns: DurationNs = Field(default=0, alias="ttl")
    """Time for which an answer of the authorizer is cached, unless the answer sets its own time; at most an hour."""

    @model_validator(mode="after")
    def _ttl_in_range(self) -> Self:
        if self.ttl_ns > TTL_MAX_S * _SECOND_NS:
            raise problem(f"has a ttl above {TTL_MAX_S}s, the longest that AWS allows")
        return self


class Auth(Part):
    """Authorization modes of the API. The server's own API key is always accepted as an API key."""

    api_key: ApiKeys = ApiKeys()
    """Further API keys."""
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
    """Modes that may publish, unless a namespace has its own setting."""
    subscribe: Modes = ("API_KEY",)
    """Modes that may subscribe, unless a namespace has its own setting."""


class DirectLambda(Part):
    """A handler written as a function for AWS Lambda, which AWS calls direct Lambda integration."""

    lambda_: Reference = Field(alias="lambda")
    """The function of (event, context), as module:function or path/to/file.py:function."""


Handler = Annotated[
    Annotated[Reference, Tag(WORD)] | Annotated[DirectLambda, Tag(MAPPING)], Discriminator(_kind)
]


class NamespacePart(Part):
    """Settings of one namespace, each of which overrides the API's setting."""

    publish: Modes | None = None
    """Modes that may publish in this namespace."""
    subscribe: Modes | None = None
    """Modes that may subscribe in this namespace."""
    on_publish: Handler | None = None
    """Handler of publishes: module:function or path/to/file.py:function, or {lambda: ...} for AWS Lambda's form."""
    on_subscribe: Handler | None = None
    """Handler of subscriptions, in the same forms as on_publish."""


class QuotaPart(Part):
    """Quotas set one by one; a quota that is left out is off."""

    subscriptions_per_connection: int | None = Field(default=None, ge=1)
    """Maximum number of subscriptions of one connection."""
    event_bytes: SizeBytes | None = Field(default=None, alias="event")
    """Largest size of one event."""
    payload_bytes: SizeBytes | None = Field(default=None, alias="payload")
    """Largest total size of the events in one publish request."""
    publishes_per_connection_per_s: EventRate | None = Field(default=None, alias="publishes_per_connection")
    """Maximum number of publish requests per second on one WebSocket connection, such as 25/s."""
    connections_per_s: EventRate | None = Field(default=None, alias="connections")
    """Maximum number of new connections per second, such as 2000/s."""
    inbound_events_per_s: EventRate | None = Field(default=None, alias="inbound_events")
    """Maximum number of published events per second, such as 10000/s."""
    outbound_messages_per_s: EventRate | None = Field(default=None, alias="outbound_messages")
    """Maximum number of deliveries per second, such as 1000000/s; each 5 KB of an event counts as one delivery."""


class ApiFile(Part):
    """An API file; every part is optional."""

    auth: Auth = Auth()
    """Authorization; default: API key only."""
    namespaces: dict[str, NamespacePart | None] = Field(default={"default": None}, min_length=1)
    """Channel namespaces by name, with the settings that each overrides."""
    quotas: (
        Annotated[
            Annotated[Literal["aws", "limits", "off"], Tag(WORD)] | Annotated[QuotaPart, Tag(MAPPING)],
            Discriminator(_kind),
        ]
        | None
    ) = None
    """The quotas: `aws` for AWS's defaults, `limits` (the default) for only the limits of one request or connection,
    `off`, or quotas set one by one."""


def load_api_file(path: Path) -> ApiFile:
    """Read and validate an API file.

    Raises:
        ConfigError: the file cannot be read or is invalid; the message has a line for each problem.
    """
    try:
        return read_part(path, ApiFile, "the API file", "{namespaces: {chat: {}}}")
    except ScenarioError as error:
        raise ConfigError(str(error)) from None


def quotas_of(part: str | QuotaPart | None) -> Quotas:
    """Return the quotas for a preset's name or for quotas set one by one; None means the preset `limits`."""
    if isinstance(part, QuotaPart):
        return Quotas(**{name: getattr(part, name) for name in QuotaPart.model_fields})
    return {"aws": Quotas.aws, "off": Quotas.off}.get(part or "limits", Quotas)()


def define(file: ApiFile, folder: Path, api_key: str, environment: Mapping[str, str]) -> ApiDefinition:
    """Return the API that a file describes; its relative paths start from `folder`.

    Raises:
        ConfigError: a secret is missing from the environment, a file or function cannot be loaded, or an operation
            allows a mode that `auth` does not configure.
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
                _handler(part.on_publish, folder),
                _handler(part.on_subscribe, folder),
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
        try:
            extras.require("aws", "auth.iam (signatures of AWS)")
        except extras.ExtraMissingError as error:
            raise ConfigError(str(error)) from None
        from loadgen.server.auth.iam import IamAuthorizer, IamUser

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


def _handler(part: str | DirectLambda | None, folder: Path) -> Callable[..., Any] | None:
    """Return a namespace's handler; raises ConfigError if its function cannot be loaded."""
    if not isinstance(part, DirectLambda):
        return _function(part, folder)
    function = _function(part.lambda_, folder)
    assert function is not None
    return direct(function)


def _function(reference: str | None, folder: Path) -> Callable[..., Any] | None:
    """Return the function named by `module:function` or `path/to/file.py:function`.

    Raises:
        ConfigError: the function does not exist or its module cannot be imported; the message quotes the module's
            exception.
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
