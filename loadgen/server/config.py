"""Settings of a server, from the command line, an API file or Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from loadgen.payloads.place import DEFAULT, Place, place_named
from loadgen.protocol.appsync import limits
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.server.api_keys import ConfigError, api_key_from_environment, generate_api_key
from loadgen.server.namespaces import is_namespace_name
from loadgen.server.quotas import Quotas

if TYPE_CHECKING:
    from loadgen.server.definition import ApiDefinition
    from loadgen.server.faults.settings import Faults

DEFAULT_WRITE_BUFFER_LIMIT_BYTES: Final = 16 * 1024 * 1024

PROCESSES_MAX: Final = 64
"""Maximum number of processes of a server. Every two processes share two sockets, so the number of sockets grows with
the square of the number of processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Settings of one server; `repr` does not show `api_key`.

    Port 0 takes a free port. A connection with more unsent bytes than `write_buffer_limit_bytes` is aborted.
    `api_key_source` is for display: it names the source of a given key and is None for a generated one.

    Raises:
        ConfigError: a setting is out of range or a file is missing.
    """

    api_key: str = field(repr=False)
    api_key_source: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    namespaces: tuple[str, ...] = ("default",)
    keepalive_interval_s: float = limits.KEEPALIVE_INTERVAL_S
    connection_timeout_ms: int = limits.CONNECTION_TIMEOUT_MS
    connection_lifetime_s: float = limits.CONNECTION_LIFETIME_S
    write_buffer_limit_bytes: int = DEFAULT_WRITE_BUFFER_LIMIT_BYTES
    certfile: Path | None = None
    keyfile: Path | None = None
    quotas: Quotas = field(default_factory=Quotas)
    #: Definition of the API, read from a file or built in Python. If None, the API has the channel namespaces in
    #: `namespaces`, and the API key is its only authorization.
    definition: "ApiDefinition | None" = None
    #: The faults to inject, and the folder for the journal (the server's own record of deliveries); each may be None.
    faults: "Faults | None" = None
    journal: Path | None = None
    #: Where in an event the journal finds the load generator's stamp (run token, publisher and sequence number).
    place: Place = DEFAULT
    #: Number of processes that share the port and the connections.
    processes: int = 1

    @classmethod
    def from_options(
        cls,
        *,
        api_key_env: str | None,
        api_file: Path | None,
        quotas: str | None,
        faults: Path | None,
        environment: Mapping[str, str],
        namespaces: Sequence[str] | None,
        stamp: str | None = None,
        **more: Any,
    ) -> Self:
        """Return the settings for the options of a command line.

        The key comes from the environment variable `api_key_env`, or is generated if that is None. `quotas` is the name
        of a preset and overrides the API file. `stamp` says where in an event the load generator's stamp is. `more` are
        further fields of this class.

        Raises:
            ConfigError: a setting or a file is invalid.
        """
        if api_file is not None and namespaces:
            raise ConfigError(
                "--namespace and --api are two ways to say the same: put the namespaces in the file"
            )
        generated = api_key_env is None
        key = (
            generate_api_key() if api_key_env is None else api_key_from_environment(api_key_env, environment)
        )
        if api_file is not None or quotas is not None:
            from loadgen.server import api_file as files

            described = files.load_api_file(api_file) if api_file is not None else files.ApiFile()
            more["quotas"] = files.quotas_of(quotas or described.quotas)
            if api_file is not None:
                more["definition"] = files.define(described, api_file.parent, key, environment)
                namespaces = tuple(described.namespaces)
        if stamp is not None:
            try:
                more["place"] = place_named(stamp)
            except ValueError as error:
                raise ConfigError(f"--stamp {stamp[:100]!a} is no place in an event: it {error}") from None
        if faults is not None:
            # Import this only here, since it loads pydantic and YAML: a server without faults starts faster.
            from loadgen.server.faults.settings import load_faults

            more["faults"] = load_faults(faults)
        source = None if generated else f"${api_key_env}"
        return cls(api_key=key, api_key_source=source, namespaces=tuple(namespaces or ("default",)), **more)

    def __post_init__(self) -> None:
        try:
            ApiKey(self.api_key)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port {self.port} is not a port: choose 1-65535, or 0 for a free one")
        if not self.namespaces:
            raise ConfigError("there is no namespace: name at least one, as 'default'")
        for name in self.namespaces:
            if not is_namespace_name(name):
                raise ConfigError(
                    f"namespace {name!a} is not one: 1-50 letters, digits and dashes, no dash at either end"
                )
        for what, value in (
            ("keep-alive interval", self.keepalive_interval_s),
            ("connection timeout", self.connection_timeout_ms),
            ("connection lifetime", self.connection_lifetime_s),
            ("write buffer limit", self.write_buffer_limit_bytes),
        ):
            if not value > 0:
                raise ConfigError(f"the {what} is {value}: it must be above zero")
        self._check_processes()
        self._check_tls_files()

    @property
    def tls(self) -> bool:
        """True if the server speaks only HTTPS and WSS."""
        return self.certfile is not None

    def _check_processes(self) -> None:
        if not 1 <= self.processes <= PROCESSES_MAX:
            raise ConfigError(
                f"the number of processes is {self.processes}: choose 1-{PROCESSES_MAX}, at most one a core"
            )
        if self.processes == 1:
            return
        for option, given in (("--faults", self.faults), ("--journal", self.journal)):
            if given is not None:
                raise ConfigError(
                    f"{option} needs one process, which sees every delivery in order: leave out {option} or --processes"
                )

    def _check_tls_files(self) -> None:
        if (self.certfile is None) != (self.keyfile is None):
            raise ConfigError("TLS needs both a certificate and a key file: give the two, or neither")
        for what, path in (("certificate", self.certfile), ("key", self.keyfile)):
            if path is not None and not path.is_file():
                raise ConfigError(f"the {what} file {str(path)!a} does not exist")
