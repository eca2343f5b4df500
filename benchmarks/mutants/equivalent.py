"""Mutants that no test can notice, judged by reading. They are counted apart."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Equivalent:
    """A change of a line that changes nothing a caller can see, and why."""

    module: str
    before: str
    after: str
    reason: str


EQUIVALENT: tuple[Equivalent, ...] = ()
