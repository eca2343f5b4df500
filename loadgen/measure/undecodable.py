"""Messages that a service sent and nobody can read, by kind: the service's deviation, not a failure of the harness."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

#: Kinds that are kept apart; messages of further ones are counted together.
MOST_KINDS: Final = 20
OTHER_KINDS: Final = "other messages that cannot be read"


@dataclass(slots=True)
class Kind:
    """How many messages of one kind came, and the first of them: escaped, cut, without secrets."""

    kind: str
    count: int
    example: str


class Undecodable:
    """Counts the unreadable messages of one worker process."""

    def __init__(self) -> None:
        #: Of all kinds.
        self.count = 0
        self._kinds: dict[str, Kind] = {}

    def add(self, kind: str, example: Callable[[], str]) -> None:
        """Count a message; ``example`` is called for the first of a kind and returns it as people may see it.

        ``kind`` is one of ours and holds nothing that the service said.
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
        """Return the kinds in the order in which they first came, as the manifest has them."""
        return [asdict(kind) for kind in self._kinds.values()]
