"""Checks: what the user's own code has asserted, counted by name."""

from typing import Final

#: Distinct names that are kept apart; checks of further ones are counted together.
MOST_NAMES: Final = 1_000
MOST_NAME_CHARACTERS: Final = 200
OTHER_CHECKS: Final = "(other checks)"


class Checks:
    """The checks of one process: how often each passed and failed."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def count(self, name: str, passed: bool) -> None:
        """Count one check."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._first(name)
        counts[passed] += 1

    def take(self, other: "Checks") -> None:
        """Move the checks of another here."""
        for name, (failed, passed) in other._counts.items():
            counts = self._counts.get(name) or self._first(name)
            counts[False] += failed
            counts[True] += passed
        other._counts = {}

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return `{name: {"passed": int, "failed": int}}`, as the manifest has them."""
        return {name: {"passed": passed, "failed": failed} for name, (failed, passed) in self._counts.items()}

    def _first(self, name: str) -> list[int]:
        """Return the counts of a name that was not found as it is: it may be too long, or one too many."""
        name = name if len(name) <= MOST_NAME_CHARACTERS else name[: MOST_NAME_CHARACTERS - 1] + "…"
        if name not in self._counts and len(self._counts) >= MOST_NAMES:
            name = OTHER_CHECKS
        return self._counts.setdefault(name, [0, 0])
