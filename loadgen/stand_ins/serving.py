"""Run one stand-in server until it is asked to stop."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from loadgen import garbage
from loadgen.server import quiet
from loadgen.server.api_keys import api_key_from_environment, generate_api_key
from loadgen.server.lifecycle import (
    EXIT_STOPPED,
    EXIT_USAGE,
    loop_factory,
    raise_open_file_limit,
    silence_handshake_log,
    watch_stdin,
)
from loadgen.server.listening import StartError, listen
from loadgen.stand_ins.registry import StandIn, StandInError, stand_in
from loadgen.stand_ins.settings import Settings

_SHUTDOWN_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInConfig:
    """The command line of one stand-in, checked; `processes` is always 1.

    `api_key_source` is for display: it names the source of a given key and is None for a generated one.
    """

    service: StandIn
    settings: Settings
    api_key_source: str | None = None
    host: str = "127.0.0.1"
    port: int = 0
    certfile: Path | None = None
    keyfile: Path | None = None
    processes: int = 1

    @classmethod
    def from_options(
        cls,
        *,
        service: str,
        api_key_env: str | None,
        journal: Path | None,
        options: Sequence[str],
        host: str,
        port: int,
        certfile: Path | None,
        keyfile: Path | None,
        environment: Mapping[str, str],
    ) -> Self:
        """Return the settings for the options of a command line.

        The API key comes from the environment variable that `api_key_env` names; if `api_key_env` is None, a key is
        generated. `options` are the service's own, each as `NAME=VALUE`.

        Raises:
            ValueError: an option is invalid; the message is one sentence.
        """
        if not 0 <= port <= 65535:
            raise StandInError(f"port {port} is not a port: choose 1-65535, or 0 for a free one")
        if (certfile is None) != (keyfile is None):
            raise StandInError("TLS needs both a certificate and a key file: give the two, or neither")
        key = (
            generate_api_key() if api_key_env is None else api_key_from_environment(api_key_env, environment)
        )
        return cls(
            service=stand_in(service),
            settings=Settings(key, journal, _named(options)),
            api_key_source=None if api_key_env is None else f"${api_key_env}",
            host=host,
            port=port,
            certfile=certfile,
            keyfile=keyfile,
        )

    def url(self, of: tuple[str, str], port: int) -> str:
        """Return a URL of the service, given as scheme and path, for a server that listens on ``port``."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        scheme, path = of
        return f"{scheme}{'s' if self.certfile is not None else ''}://{authority}{path}"


def serve(config: StandInConfig, *, announce: bool = False, exit_with_stdin: bool = False) -> int:
    """Run a stand-in until SIGINT, SIGTERM or, if asked, the end of standard input; return the exit code.

    Any requested stop returns 0, Ctrl-C included. If the server cannot start (port taken, an unknown option), it prints
    the reason in one sentence on standard error and returns 2.

    With `announce`, the only output is one line of JSON once the server accepts connections: `http_url`, `ws_url`,
    `target`, `api_key`, `pid` and `pids`, as `loadgen.server.process.Announcement` reads it.
    """
    raise_open_file_limit()
    silence_handshake_log()
    try:
        app = config.service.build()(config.settings)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(_serve(config, app, announce=announce, exit_with_stdin=exit_with_stdin))
    except (StartError, ValueError) as error:
        print(f"loadgen server: {error}", file=sys.stderr)
        return EXIT_USAGE
    except OSError as error:
        # An OSError here can only concern the journal, the only file that this server opens for writing.
        print(
            f"loadgen server: the journal {str(config.settings.journal)!a} cannot be written ({error.strerror})",
            file=sys.stderr,
        )
        return EXIT_USAGE
    return EXIT_STOPPED


async def _serve(
    config: StandInConfig, app: web.Application, *, announce: bool, exit_with_stdin: bool
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        app,
        handle_signals=False,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_TIMEOUT_S,
        logger=quiet.logger(),
        auto_decompress=False,
    )
    try:
        await runner.setup()
        port = await listen(runner, config)
        if exit_with_stdin:
            watch_stdin(loop, stop)
        garbage.spare_existing()
        _say_ready(config, port, announce=announce)
        await stop.wait()
    finally:
        await runner.cleanup()


def _say_ready(config: StandInConfig, port: int, *, announce: bool) -> None:
    """Print the server's URLs and key, as JSON if `announce` else as text."""
    service = config.service
    urls = {
        "http_url": config.url(service.http, port),
        "ws_url": config.url(service.ws, port),
        "target": config.url(service.target, port),
    }
    if announce:
        ready = {**urls, "api_key": config.settings.api_key, "pid": os.getpid(), "pids": [os.getpid()]}
        print(json.dumps(ready), flush=True)
        return
    # Show only a generated key on the terminal. The user knows a given one.
    key = f"the one in {config.api_key_source}" if config.api_key_source else config.settings.api_key
    print(
        f"Stand-in of {service.title} is ready; stop it with Ctrl-C.\n"
        f"  target      {urls['target']}\n"
        f"  requests    {urls['http_url']}\n"
        f"  realtime    {urls['ws_url']}\n"
        f"  API key     {key}",
        flush=True,
    )


def _named(options: Sequence[str]) -> dict[str, str]:
    """Return the options by name.

    Raises:
        StandInError: an option is not `NAME=VALUE`, or its name is given twice.
    """
    named: dict[str, str] = {}
    for written in options:
        name, equals, value = written.partition("=")
        if not equals or not name:
            raise StandInError(f"--option {written[:50]!a} is not NAME=VALUE, as in 'lose-every=100'")
        if name in named:
            raise StandInError(f"--option {name[:50]!a} is given twice: give it once")
        named[name] = value
    return named
