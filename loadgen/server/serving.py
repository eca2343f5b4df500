"""Run a server until it is asked to stop, in this process or in several that share the port."""

import asyncio
import sys

from loadgen.server import cluster
from loadgen.server.config import ServerConfig
from loadgen.server.lifecycle import (
    EXIT_STOPPED,
    EXIT_USAGE,
    loop_factory,
    raise_open_file_limit,
    serve_alone,
    silence_handshake_log,
)
from loadgen.server.listening import StartError


def serve(config: ServerConfig, *, announce: bool = False, exit_with_stdin: bool = False) -> int:
    """Run a server until SIGINT, SIGTERM or, if asked, the end of standard input; return the exit code.

    Any requested stop returns 0, Ctrl-C included. If the server cannot start (port taken, bad certificate), it prints
    the reason in one sentence on standard error and returns 2. If one of several processes dies, the others stop too
    and the code is 1.

    With `announce`, the only output is one line of JSON once the server accepts connections: `http_url`, `ws_url`,
    `api_key`, `pid`, and `pids` of the serving processes.
    """
    raise_open_file_limit()
    silence_handshake_log()
    try:
        if config.processes > 1:
            return cluster.serve(config, announce=announce, exit_with_stdin=exit_with_stdin)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_alone(config, announce=announce, exit_with_stdin=exit_with_stdin))
    except StartError as error:
        print(f"loadgen server: {error}", file=sys.stderr)
        return EXIT_USAGE
    return EXIT_STOPPED
