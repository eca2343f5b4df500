"""The result of one section of the speed benchmark: a table, its bars, and errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How to measure: ``seconds`` for each figure; ``scratch`` is a folder that is deleted at the end.

    ``checkouts`` are other working copies to measure in turns with this one, in sections that can do that.
    """

    seconds: float
    subscribers: int
    scratch: Path
    checkouts: Sequence[Path] = ()


@dataclass(frozen=True)
class Bar:
    """A bar: ``value`` must be at least ``bound``, or at most with ``at_most``; it is None if it was not measured."""

    name: str
    value: float | None
    bound: float
    at_most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """True if the bar is met, or None if there is no value."""
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound


@dataclass
class Section:
    """One table. ``missing`` names tools that are not installed, ``failures`` the errors in figures."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    note: str = ""
