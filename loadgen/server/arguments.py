"""The command-line options that all server programs share: the Event API and the stand-ins for other services."""

import argparse
import sys
from pathlib import Path

from loadgen.server.lifecycle import EXIT_USAGE


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options for the address, the API key and TLS, and `--announce` and `--exit-with-stdin`."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    add("--port", type=int, default=0, help="port to listen on (default: a free one)")
    add(
        "--api-key-env",
        metavar="NAME",
        help="environment variable with the API key (default: generate one)",
    )
    add("--certfile", type=Path, help="PEM certificate; serves TLS only")
    add("--keyfile", type=Path, help="PEM key of the certificate")
    add(
        "--announce",
        action="store_true",
        help="print one line of JSON when ready, instead of text",
    )
    add("--exit-with-stdin", action="store_true", help="stop when standard input ends")


def refuse(error: ValueError) -> int:
    """Print why the options cannot be used, a line for each problem; return the exit code."""
    for line in str(error).splitlines():
        print(f"loadgen server: {line}", file=sys.stderr)
    return EXIT_USAGE
