"""Keeps the last messages of failed connections: for each kind of error, those of the first connection that had it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from analysis.text import kind_of

#: Maximum number of kinds of errors for which an example is kept.
MOST_KINDS: Final = 20


@dataclass(frozen=True, slots=True)
class LastMessage:
    """A message for display, without secrets; it was sent or received ``before_ns`` before the connection ended."""

    sent: bool
    before_ns: int
    size_bytes: int
    text: str


@dataclass(frozen=True, slots=True)
class BrokenConnection:
    """The first connection of this process that failed with one kind of error, and its last messages in order."""

    error: str
    connection: int
    life: int
    messages: Sequence[LastMessage]


class BrokenConnections:
    """Examples of failed connections of one worker process: the last messages of the first failure of each kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, BrokenConnection] = {}
        self._known: set[str] = set()

    def add(
        self, error: str, connection: int, life: int, messages: Callable[[], Sequence[LastMessage]]
    ) -> None:
        """Keep a failed connection's last messages, unless an earlier connection failed with an error of the same kind.

        ``messages`` is called only if the messages are kept.
        """
        # When a thousand connections fail, their errors often have the same text: skip a known error early.
        if error in self._known or len(self._kinds) >= MOST_KINDS:
            return
        kind = kind_of(error)
        if len(self._known) < MOST_KINDS:
            self._known.add(error)
        if kind not in self._kinds:
            self._kinds[kind] = BrokenConnection(error, connection, life, messages())

    def to_list(self) -> list[dict[str, Any]]:
        """Return the connections in the order of their failures, in the form used in the manifest."""
        return [asdict(each) for each in self._kinds.values()]
