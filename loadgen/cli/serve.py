"""`loadgen serve`: run the embedded server in the foreground."""

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from loadgen.cli.app import app, fail
from loadgen.protocol.appsync import limits


class Preset(Enum):
    """Preset of the embedded server's quotas."""

    AWS = "aws"
    LIMITS = "limits"
    OFF = "off"


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on, or 0 for a free one.", min=0, max=65535)
    ] = 8700,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Environment variable with the API key; default: generate one.", metavar="NAME"),
    ] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Channel namespace; repeatable; default: `default`.", metavar="NAME"),
    ] = None,
    ka_interval: Annotated[
        float, typer.Option(help="Seconds between keep-alive (`ka`) messages.")
    ] = limits.KEEPALIVE_INTERVAL_S,
    connection_timeout: Annotated[
        float, typer.Option(help="Keep-alive timeout that `connection_ack` names, in seconds.")
    ] = limits.CONNECTION_TIMEOUT_MS / 1000,
    lifetime: Annotated[
        float, typer.Option(help="Seconds after which the server ends a connection.")
    ] = limits.CONNECTION_LIFETIME_S,
    api: Annotated[
        Path | None,
        typer.Option(
            help="Namespaces, authorization, handlers and quotas (YAML); see loadgen/server/README.md.",
            metavar="FILE",
        ),
    ] = None,
    quotas: Annotated[
        Preset | None,
        typer.Option(help="aws: AWS's defaults; limits: AWS's without rates (default); off: none."),
    ] = None,
    processes: Annotated[
        int, typer.Option(help="Processes that share the port, at most one per core.", metavar="N")
    ] = 1,
    certfile: Annotated[Path | None, typer.Option(help="PEM certificate; serves TLS only.")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="PEM key of the certificate.")] = None,
    faults: Annotated[
        Path | None,
        typer.Option(help="Faults to inject (YAML); see loadgen/server/README.md.", metavar="FILE"),
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option(help="Folder for the journal of every event and subscription.", metavar="FOLDER"),
    ] = None,
    stamp: Annotated[
        str | None,
        typer.Option(
            help="Where the journal finds stamps: a member or JSON pointer; default: `_lg`.", metavar="PLACE"
        ),
    ] = None,
    service: Annotated[
        str | None,
        typer.Option(
            help="Imitate another service: `appsync-graphql` or `api-gateway`; --journal is then a file.",
            metavar="NAME",
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of --service, such as `lose-every=100`; repeatable.", metavar="NAME=VALUE"
        ),
    ] = None,
) -> None:
    """Serve the AppSync Events protocol on this machine.

    This is the embedded server that `loadgen run` starts when no target is given. --service imitates another service.
    """
    if service is not None or option:
        others = {
            "--namespace": namespace,
            "--api": api,
            "--quotas": quotas,
            "--faults": faults,
            "--stamp": stamp,
            "--processes": processes if processes != 1 else None,
            "--ka-interval": ka_interval if ka_interval != limits.KEEPALIVE_INTERVAL_S else None,
            "--connection-timeout": (
                connection_timeout if connection_timeout != limits.CONNECTION_TIMEOUT_MS / 1000 else None
            ),
            "--lifetime": lifetime if lifetime != limits.CONNECTION_LIFETIME_S else None,
        }
        _serve_stand_in(
            service,
            option or (),
            [name for name, value in others.items() if value is not None],
            api_key_env=api_key_env,
            journal=journal,
            host=host,
            port=port,
            certfile=certfile,
            keyfile=keyfile,
        )
    from loadgen.server import serving
    from loadgen.server.api_keys import ConfigError
    from loadgen.server.config import ServerConfig

    try:
        config = ServerConfig.from_options(
            api_key_env=api_key_env,
            api_file=api,
            quotas=quotas.value if quotas is not None else None,
            connection_lifetime_s=lifetime,
            faults=faults,
            journal=journal,
            stamp=stamp,
            environment=os.environ,
            host=host,
            port=port,
            namespaces=namespace,
            keepalive_interval_s=ka_interval,
            connection_timeout_ms=round(connection_timeout * 1000),
            certfile=certfile,
            keyfile=keyfile,
            processes=processes,
        )
    except ConfigError as error:
        fail(str(error))
    raise typer.Exit(serving.serve(config))


def _serve_stand_in(
    service: str | None, options: Sequence[str], misplaced: Sequence[str], **more: Any
) -> NoReturn:
    """Run a server that imitates another service; ``misplaced`` are given options that only AppSync Events has."""
    from loadgen.stand_ins import serving

    if service is None:
        fail("--option is for a --service: name one, as in --service appsync-graphql")
    if misplaced:
        fail(
            f"{misplaced[0]} is for the AppSync Events server, and not for --service: leave it out, and give the"
            " service's own settings by --option NAME=VALUE"
        )
    try:
        config = serving.StandInConfig.from_options(
            service=service, options=options, environment=os.environ, **more
        )
    except ValueError as error:
        fail(str(error))
    raise typer.Exit(serving.serve(config))
