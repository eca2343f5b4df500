"""The scenarios that are shipped with the program, not read: each process of a test run collects the tests of each."""

from pathlib import Path
from typing import Final, NamedTuple

from loadgen.paths import bundle


class Shipped(NamedTuple):
    """A scenario of the catalogue; a test of `catalogue` says that it is one."""

    name: str
    path: Path


SHIPPED: Final = tuple(Shipped(path.stem, path) for path in sorted(bundle("scenarios").glob("*.yaml")))
