"""Resolve the target from options and scenario, for the master and its workers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loadgen.aws.access import Access
from loadgen.aws.target import PREFIX, StackTarget, find
from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.credentials.build import secret_of
from loadgen.credentials.clients import Maker
from loadgen.credentials.errors import CredentialError
from loadgen.exits import ExitCode, RunError
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.base import ClientLogins, Endpoints, Service, TargetProtocol
from loadgen.resolve import ResolvedRun
from loadgen.run.group_logins import GroupMakers, makers
from loadgen.run.master_messages import TargetPart
from loadgen.targets import protocol_file_of, protocol_of
from loadgen.transport import proxy

if TYPE_CHECKING:
    from loadgen.scenario.login import Login


@dataclass(frozen=True)
class Target:
    """The service under load. ``api_key`` is set only for the embedded server; the key gives no other access."""

    url: str
    login: "Login | None" = None
    api_key: str | None = None
    #: Settings of the faults that the embedded server injects, or None.
    faults: dict[str, Any] | None = None
    #: The AWS stack of the API if the target was given as `aws:STACK`; set only on the master.
    stack: StackTarget | None = None
    #: True if connections may leave this machine: `--allow-remote`, for the master and all workers.
    allow_remote: bool = False
    #: Secrets and commands that the command line lets a scenario, a protocol file or a master use.
    allowed: Allowed = NOTHING
    #: Source of the login, as the beginning of a sentence, or None if it is this process's command line.
    login_from: str | None = None
    #: Text of the protocol file that the URL names. None if the URL names none or the file is not read yet.
    protocol_file: str | None = None

    @property
    def embedded(self) -> bool:
        """True if the target is the embedded server."""
        return self.api_key is not None

    @classmethod
    def resolve(
        cls,
        run: ResolvedRun,
        url: str | None,
        api_key_env: str | None,
        auth: str | None = None,
        access: Access = Access(),  # noqa: B008  frozen
        allow_remote: bool = False,
        allowed: Allowed = NOTHING,
        login_from: str | None = None,
        url_from: str | None = None,
    ) -> "Target | None":
        """Return the target of the command line or else the scenario, or None for the embedded server.

        ``url`` may be `aws:STACK`, which is looked up on AWS with ``access``. ``login_from`` and ``url_from`` name the
        file or variable that sets ``auth`` and ``url``, or are None if the command line does.

        Raises:
            RunError: the URL or the login cannot be used.
        """
        login = login_of(api_key_env, auth)
        if url is None and run.target is not None:
            url, url_from = run.target.url, "the scenario"
            if login is None and run.target.login is not None:
                login, login_from = _login(run.target.login), "the scenario"
        if url is None:
            if login is not None:
                raise RunError(
                    "--auth and --api-key-env go with --target: the embedded server has a key of its own",
                    ExitCode.USAGE,
                )
            return None
        if url_from is not None and (named := sorted(protocol_of(url).variables)):
            raise RunError(
                f"the target stands in {url_from}, and its protocol file names the environment variable {named[0]}:"
                f" give the target on the command line, as --target {url!a} --allow-env {named[0]}",
                ExitCode.USAGE,
            )
        return cls.of(url, login, access, allow_remote, allowed, login_from)

    @classmethod
    def of(
        cls,
        url: str,
        login: "Login | None",
        access: Access = Access(),  # noqa: B008  frozen
        allow_remote: bool = False,
        allowed: Allowed = NOTHING,
        login_from: str | None = None,
    ) -> "Target":
        """Return a target; raises RunError if its URL, proxies or login cannot be used."""
        stack = None
        if url.startswith(PREFIX):
            stack = find(url, access)
            url = stack.url
            login = login or _login(
                {"mode": "api-key", "api_id": stack.api_id, "profile": access.profile, "region": stack.region}
            )
        target = cls(
            url,
            login,
            stack=stack,
            allow_remote=allow_remote,
            allowed=allowed,
            login_from=login_from,
            # Read the file only once: the workers use the text that was checked here, even if the file changes.
            protocol_file=protocol_file_of(url),
        )
        # Check the URL first: an error of the URL matters more to the user than a missing login.
        target.endpoints()
        if login is None and not target.protocol.anonymous:
            raise RunError(
                f"the target {url!a} needs a key: name the environment variable that holds it with --api-key-env NAME,"
                " or another way to log in with --auth",
                ExitCode.USAGE,
            )
        # Check the proxies first: `service` may fetch a login over the network, and so through a proxy.
        target.proxies()
        target.service()
        return target

    @property
    def protocol(self) -> TargetProtocol:
        """The target's protocol."""
        return protocol_of(self.url, self.protocol_file)

    def endpoints(self) -> Endpoints:
        """Return the target's endpoints; raises RunError if the URL is invalid."""
        try:
            return self.protocol.endpoints(self.url)
        except ValueError as error:
            raise RunError(f"--target: {error}", ExitCode.USAGE) from None

    def service(self) -> Service:
        """Return the target's service with the run's login; raises RunError if the login is unusable or not allowed."""
        endpoints, protocol = self.endpoints(), self.protocol
        if self.api_key is not None:
            return protocol.service(endpoints, ApiKey(self.api_key))
        if self.login is not None and self.login.mode not in protocol.logins:
            if not protocol.logins:
                raise RunError(
                    f"--auth and --api-key-env are not for {protocol.title}: its protocol file says how one logs in,"
                    " with secrets as {env:NAME}",
                    ExitCode.USAGE,
                )
            modes = ", ".join(sorted(protocol.logins))
            raise RunError(
                f"one cannot log in to {protocol.title} by {self.login.mode}: modes for it are {modes}",
                ExitCode.USAGE,
            )
        try:
            environment = None
            if protocol.variables:
                whose = f"the protocol file of {protocol.title!a}"
                environment = self.allowed.environment(protocol.variables, whose, endpoints.host)
            if self.login is None:
                return protocol.service(endpoints, environment)
            if self.login_from is not None:
                self.allowed.demand(self.login, self.login_from, endpoints.host)
            secret = secret_of(self.login, endpoints.host)
            if environment is None:
                return protocol.service(endpoints, secret)
            return protocol.service(endpoints, environment).for_client(ClientLogins(connect=secret))
        except (CredentialError, ValueError) as error:
            raise RunError(str(error), ExitCode.USAGE) from None

    def login_makers(self, run: ResolvedRun) -> tuple[dict[str, GroupMakers], list[Maker]]:
        """Check the logins of the run's groups on this machine; return the result of `group_logins.makers`.

        Raises:
            RunError: a login cannot be used or is not allowed.
        """
        if self.embedded and any(group.logins for group in run.groups):
            raise RunError(
                "the scenario's groups have logins, which go with --target: the embedded server has a key of its own;"
                " `loadgen serve --api FILE` serves an API with other logins",
                ExitCode.USAGE,
            )
        try:
            return makers(run, self.endpoints().host, allowed=self.allowed, whose="the scenario")
        except (CredentialError, ValueError) as error:
            raise RunError(str(error), ExitCode.USAGE) from None

    def urls(self) -> tuple[str, str | None]:
        """Return the URLs for connections and for HTTP requests (None if there is no HTTP), without secrets.

        Raises:
            RunError: the target's URL is invalid.
        """
        described = self.endpoints().describe()
        return described["ws_url"] or described["url"] or self.url, described["http_url"]

    def proxies(self) -> list[dict[str, object]]:
        """Return the manifest's `proxies`, from this process's environment; raises RunError for an invalid setting."""
        try:
            return proxy.routes(*self.urls())
        except proxy.ProxySettingError as error:
            raise RunError(str(error), ExitCode.USAGE) from None

    def to_payload(self) -> TargetPart:
        """Return the target as a part of BEGIN, for :meth:`from_payload` on a worker."""
        return TargetPart(
            url=self.url,
            login=None if self.login is None else self.login.as_data(),
            api_key=self.api_key,
            protocol_file=protocol_file_of(self.url) if self.protocol_file is None else self.protocol_file,
            allow_remote=self.allow_remote,
        )

    @classmethod
    def from_payload(
        cls,
        payload: TargetPart,
        allowed: Allowed = NOTHING,
        login_from: str | None = "the master",
    ) -> "Target":
        """Return the target that the master sent; ``allowed`` are the permissions from this process's command line."""
        return cls(
            payload.url,
            _login(payload.login) if payload.login is not None else None,
            payload.api_key,
            allow_remote=payload.allow_remote,
            allowed=allowed,
            login_from=login_from,
            protocol_file=payload.protocol_file,
        )

    def describe(self) -> dict[str, Any]:
        """Return the manifest's `target`, without secrets."""
        endpoints, protocol = self.endpoints(), self.protocol
        auth = "api-key of the embedded server" if self.embedded else "nobody (no login)"
        if self.login is not None:
            auth = self.login.describe()
        return {
            "protocol": protocol.name,
            "service": protocol.title,
            **endpoints.describe(),
            "setup": dict(protocol.setup(endpoints)),
            "embedded": self.embedded,
            "loopback": endpoints.loopback,
            "proxies": self.proxies(),
            "auth": auth,
            "faults": self.faults,
            **({} if self.stack is None else {"aws": self.stack.describe()}),
        }

    def check_namespaces(self, needed: Iterable[str]) -> None:
        """Raise RunError if the stack's API lacks a namespace that the scenario needs.

        Only targets given as `aws:STACK` can be checked.
        """
        if self.stack is None:
            return
        missing = sorted(set(needed) - set(self.stack.namespaces))
        if missing:
            options = "".join(f" --namespace {name}" for name in missing)
            raise RunError(
                f"the stack {self.stack.stack} has no namespace {missing[0]!a}, which the scenario needs: add it with"
                f" `loadgen aws up --stack {self.stack.stack} --region {self.stack.region}{options}`",
                ExitCode.USAGE,
            )


def _login(said: dict[str, Any]) -> "Login":
    # Import this only here: runs without a login, such as those on the embedded server, need not load pydantic.
    from loadgen.scenario.login import Login

    return Login.model_validate(said)


def login_of(api_key_env: str | None, auth: str | None) -> "Login | None":
    """Return the login given on the command line, or None if there is none.

    Raises:
        RunError: both options are given, or ``auth`` is invalid.
    """
    if api_key_env is not None and auth is not None:
        raise RunError("--api-key-env and --auth are two ways to log in: keep one", ExitCode.USAGE)
    if api_key_env is not None:
        auth = f"api-key:{api_key_env}"
    if auth is None:
        return None
    from loadgen.credentials.option import login_from_option

    try:
        return login_from_option(auth)
    except CredentialError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
