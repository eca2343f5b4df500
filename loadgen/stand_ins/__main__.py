"""`python -m loadgen.stand_ins --service NAME`: run a stand-in server as a separate process."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from loadgen import garbage
from loadgen.server.loading import without_authorities

# On import aiohttp loads certificate authorities for HTTP clients. Skip that, since this process is only a server.
with garbage.loading(), without_authorities():
    from loadgen.server.arguments import add_common, refuse
    from loadgen.stand_ins.registry import STAND_INS
    from loadgen.stand_ins.serving import StandInConfig, serve


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m loadgen.stand_ins", description=__doc__)
    add_common(parser)
    add = parser.add_argument
    add("--service", required=True, metavar="NAME", help=f"service to imitate: {', '.join(STAND_INS)}")
    add("--journal", type=Path, metavar="FILE", help="file for the losses, one JSON object a line")
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the service, such as lose-every=100; repeatable",
    )
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
        return refuse(error)
    return serve(config, announce=options.announce, exit_with_stdin=options.exit_with_stdin)


if __name__ == "__main__":
    sys.exit(main())
