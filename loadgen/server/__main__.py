"""`python -m loadgen.server`: run the embedded Event API as a separate process."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from loadgen import garbage
from loadgen.server.loading import without_authorities

# On import aiohttp loads the certificate authorities for its client, which the server never uses: skip that.
with garbage.loading(), without_authorities():
    from loadgen.protocol.appsync import limits
    from loadgen.server.api_keys import ConfigError
    from loadgen.server.arguments import add_common, refuse
    from loadgen.server.config import DEFAULT_WRITE_BUFFER_LIMIT_BYTES, ServerConfig
    from loadgen.server.serving import serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadgen.server", description=__doc__)
    add = parser.add_argument
    add_common(parser)
    add(
        "--namespace",
        action="append",
        metavar="NAME",
        help="channel namespace; repeatable (default: `default`)",
    )
    add(
        "--ka-interval",
        type=float,
        default=limits.KEEPALIVE_INTERVAL_S,
        metavar="SECONDS",
        help="seconds between keep-alive (`ka`) messages (default %(default)s)",
    )
    add(
        "--connection-timeout",
        type=float,
        default=limits.CONNECTION_TIMEOUT_MS / 1000,
        metavar="SECONDS",
        help="keep-alive timeout that connection_ack names, in seconds (default %(default)s)",
    )
    add(
        "--write-buffer-limit",
        type=int,
        default=DEFAULT_WRITE_BUFFER_LIMIT_BYTES,
        metavar="BYTES",
        help="drop a client for which more than this is unsent (default %(default)s)",
    )
    add(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes that share the port, at most one per core (default %(default)s)",
    )
    add(
        "--api",
        type=Path,
        metavar="FILE",
        help="namespaces, authorization, handlers and quotas (YAML); see loadgen/server/README.md",
    )
    add(
        "--quotas",
        choices=("aws", "limits", "off"),
        help="aws: AWS's defaults; limits: AWS's without rates (default); off: none",
    )
    add(
        "--lifetime",
        type=float,
        default=limits.CONNECTION_LIFETIME_S,
        metavar="SECONDS",
        help="seconds after which the server ends a connection (default %(default)s)",
    )
    add("--faults", type=Path, metavar="FILE", help="faults to inject (YAML); see loadgen/server/README.md")
    add(
        "--journal",
        type=Path,
        metavar="FOLDER",
        help="folder for the journal of every event and subscription",
    )
    add(
        "--stamp",
        metavar="PLACE",
        help="where the journal finds stamps: a member or a JSON pointer (default: _lg)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return 0 if it was stopped, 1 if one of several processes failed, 2 if it could not start."""
    options = _parser().parse_args(arguments)
    try:
        config = ServerConfig.from_options(
            api_key_env=options.api_key_env,
            api_file=options.api,
            quotas=options.quotas,
            connection_lifetime_s=options.lifetime,
            faults=options.faults,
            journal=options.journal,
            stamp=options.stamp,
            environment=os.environ,
            host=options.host,
            port=options.port,
            namespaces=options.namespace,
            keepalive_interval_s=options.ka_interval,
            connection_timeout_ms=round(options.connection_timeout * 1000),
            write_buffer_limit_bytes=options.write_buffer_limit,
            certfile=options.certfile,
            keyfile=options.keyfile,
            processes=options.processes,
        )
    except ConfigError as error:
        return refuse(error)
    return serve(config, announce=options.announce, exit_with_stdin=options.exit_with_stdin)


if __name__ == "__main__":
    sys.exit(main())
