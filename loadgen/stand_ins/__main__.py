"""`python -m loadgen.stand_ins --service NAME`: run a stand-in server as a separate process."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from loadgen import garbage
from loadgen.server.loading import without_authorities

# On import aiohttp loads the certificate authorities for its client, which the server never uses: skip that.
with garbage.loading(), without_authorities():
    from loadgen.server.lifecycle import EXIT_USAGE
    from loadgen.stand_ins.registry import STAND_INS
    from loadgen.stand_ins.serving import StandInConfig, serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadgen.stand_ins", description=__doc__)
    add = parser.add_argument
    add("--service", required=True, metavar="NAME", help=f"service to imitate: {', '.join(STAND_INS)}")
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=0, help="port to listen on (default: a free one)")
    add(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the API key (default: generate one)",
    )
    add("--certfile", type=Path, help="PEM certificate; serves TLS only")
    add("--keyfile", type=Path, help="PEM key of the certificate")
    add("--journal", type=Path, metavar="FILE", help="file for the losses, one JSON object a line")
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the service, such as lose-every=100; repeatable",
    )
    add(
        "--announce",
        action="store_true",
        help="print one line of JSON when ready, instead of text",
    )
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stand-in; return 0 if it was stopped, 2 if it could not start."""
    options = _parser().parse_args(arguments)
    try:
        config = StandInConfig.from_options(
            service=options.service,
            api_key_env=options.api_key_env,
            journal=options.journal,
            options=options.option,
            host=options.host,
            port=options.port,
            certfile=options.certfile,
            keyfile=options.keyfile,
            environment=os.environ,
        )
    except ValueError as error:
        print(f"loadgen server: {error}", file=sys.stderr)
        return EXIT_USAGE
    return serve(config, announce=options.announce, exit_with_stdin=options.exit_with_stdin)


if __name__ == "__main__":
    sys.exit(main())
