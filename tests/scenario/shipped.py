"""The scenarios shipped with the program, read once, because each test process collects tests of them."""

from typing import Final

from loadgen.resolve.loading import CatalogueEntry, catalogue

SHIPPED: Final[tuple[CatalogueEntry, ...]] = tuple(catalogue())
