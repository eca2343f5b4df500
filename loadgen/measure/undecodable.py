"""Counts unreadable messages from the service by kind.

An unreadable message is the service's deviation from its protocol, not a failure of the harness.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

#: Distinct kinds that are counted separately; messages of further kinds share `OTHER_KINDS`.
MOST_KINDS: Final = 20
OTHER_KINDS: Final = "other messages that cannot be read"


@dataclass(slots=True)
class Kind:
    """The number of unreadable messages of one kind, and the text of the first, escaped and without secrets."""

    kind: str
    count: int
    example: str


class Undecodable:
    """Counts the unreadable messages of one worker process."""

    def __init__(self) -> None:
        #: Number of unreadable messages of all kinds together.
        self.count = 0
        self._kinds: dict[str, Kind] = {}

    def add(self, kind: str, example: Callable[[], str]) -> None:
        """Count a message; ``example`` is called for the first of a kind and returns its text for display.

        ``kind`` is a text of the harness and must not contain anything that the service sent.
        """
        self.count += 1
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind = OTHER_KINDS
        known = self._kinds.get(kind)
        if known is None:
            self._kinds[kind] = Kind(kind, 1, example())
        else:
            known.count += 1

    def to_list(self) -> list[dict[str, Any]]:
        """Return the kinds in the order of their first message, in the form used in the manifest."""
        return [asdict(kind) for kind in self._kinds.values()]
