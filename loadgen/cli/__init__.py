"""The `loadgen` command."""

from loadgen.cli.app import main

__all__ = ["main"]
