"""The result of one section of the speed benchmark: figures, a table of details, required values, and errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """How to measure: ``seconds`` for each figure; ``scratch`` is a folder that is deleted at the end.

    ``rounds`` is the number of times that our tool and the limit (the C program) are measured. ``only`` has words that
    select receivers by their names; if it is empty, all are measured. ``checkouts`` are other working copies of the
    repository, measured alternately with this one in sections that support it.
    """

    seconds: float
    subscribers: int
    scratch: Path
    checkouts: Sequence[Path] = ()
    rounds: int = 1
    only: Sequence[str] = ()

    def chooses(self, name: str) -> bool:
        """Return True if a receiver with this name is to be measured."""
        return not self.only or any(word.lower() in name.lower() for word in self.only)


#: The two payload columns of the table of all figures: events padded by the harness, and real messages.
OWN, REAL = "own padding", "real payload"


@dataclass(frozen=True)
class Figure:
    """One figure: its subject (``what``), tool and payload, and its value.

    ``payload`` is :data:`OWN` or :data:`REAL`, or None for a figure that does not depend on it. ``each`` has the values
    of all rounds, ``details`` further figures, such as memory. ``role`` is "ours", "limit" or "" for another tool.
    ``of_limit`` is the ratio to the limit if both were measured in turns; if it is None, the values are compared.
    """

    what: str
    tool: str
    payload: str | None
    value: float
    unit: str
    role: str = ""
    each: tuple[float, ...] = ()
    #: True if a lower value is better.
    cost: bool = False
    of_limit: float | None = None
    details: Mapping[str, float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Bar:
    """A requirement: ``value`` must be at least ``bound``, or at most ``bound`` if ``at_most`` is True.

    ``value`` is None if the figure was not measured.
    """

    name: str
    value: float | None
    bound: float
    at_most: bool = False
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """True if the requirement is met, or None if there is no value."""
        if self.value is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound


@dataclass
class Section:
    """One table of the benchmark's report, with its figures and required values.

    ``missing`` names tools that are not installed; ``failures`` describes figures that could not be measured or are
    wrong. ``interrupted`` is True if Ctrl-C ended the section, which then has only the figures until that moment.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    note: str = ""
    figures: list[Figure] = field(default_factory=list)
    interrupted: bool = False
