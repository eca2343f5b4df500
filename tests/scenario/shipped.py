"""The scenarios that are shipped with the program, read once: each process of a test run collects the tests of each."""

from typing import Final

from loadgen.resolve.loading import CatalogueEntry, catalogue

SHIPPED: Final[tuple[CatalogueEntry, ...]] = tuple(catalogue())
