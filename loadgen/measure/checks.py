"""Counts, by name, the checks that a user's code makes: how many passed and failed."""

from typing import Final

#: Distinct names that are counted separately; checks with further names share `OTHER_CHECKS`.
MOST_NAMES: Final = 1_000
MOST_NAME_CHARACTERS: Final = 200
OTHER_CHECKS: Final = "(other checks)"


class Checks:
    """Counts how often each check of one process passed and failed."""

    def __init__(self) -> None:
        self._counts: dict[str, list[int]] = {}

    def count(self, name: str, passed: bool) -> None:
        """Count one check."""
        counts = self._counts.get(name)
        if counts is None:
            counts = self._first(name)
        counts[passed] += 1

    def take(self, other: "Checks") -> None:
        """Move the counts of ``other`` into this object, and so empty ``other``."""
        for name, (failed, passed) in other._counts.items():
            counts = self._counts.get(name) or self._first(name)
            counts[False] += failed
            counts[True] += passed
        other._counts = {}

    def to_dict(self) -> dict[str, dict[str, int]]:
        """Return `{name: {"passed": int, "failed": int}}`, the form used in the manifest."""
        return {name: {"passed": passed, "failed": failed} for name, (failed, passed) in self._counts.items()}

    def _first(self, name: str) -> list[int]:
        """Return the counts of a new check, whose name is shortened; after `MOST_NAMES`, those of `OTHER_CHECKS`."""
        name = name if len(name) <= MOST_NAME_CHARACTERS else name[: MOST_NAME_CHARACTERS - 1] + "…"
        if name not in self._counts and len(self._counts) >= MOST_NAMES:
            name = OTHER_CHECKS
        return self._counts.setdefault(name, [0, 0])
