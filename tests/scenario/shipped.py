"""The scenarios shipped with the program, listed without reading them: each test process collects tests of them."""

from pathlib import Path
from typing import Final, NamedTuple

from loadgen.paths import bundle


class Shipped(NamedTuple):
    """A scenario of the catalogue; a test of `catalogue` says that it is one."""

    name: str
    path: Path


SHIPPED: Final = tuple(Shipped(path.stem, path) for path in sorted(bundle("scenarios").glob("*.yaml")))
