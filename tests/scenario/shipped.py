"""The scenarios shipped with the program.

They are listed without reading them, because every test process needs the list to collect its tests.
"""

from pathlib import Path
from typing import Final, NamedTuple

from loadgen.paths import bundle


class Shipped(NamedTuple):
    """A scenario shipped with the program."""

    name: str
    path: Path


SHIPPED: Final = tuple(Shipped(path.stem, path) for path in sorted(bundle("scenarios").glob("*.yaml")))
