"""The publishes over one connection that await their answers."""

from collections.abc import Callable
from typing import Final

from loadgen.protocol.base import PublishAnswer
from loadgen.transport.isolation import OnFailed

#: Error text in the record for a publish whose connection was lost before the answer arrived.
LOST: Final = "the connection was lost before the publish was answered"
#: A callback that gets the answer and its arrival (ns), or None and the current time if the connection was lost.
OnAnswer = Callable[[PublishAnswer | None, int], None]


class UnansweredPublishes:
    """Passes the answer to each publish to the callback that waits for it, at most once."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, OnAnswer] = {}

    def add(self, publish_id: str, on_answer: OnAnswer) -> None:
        """Register a publish that is about to be sent; ``on_answer`` is called with its answer."""
        self._waiting[publish_id] = on_answer

    def withdraw(self, publish_id: str) -> None:
        """Forget a publish that could not be sent."""
        del self._waiting[publish_id]

    def answered(self, publish_id: str, answer: PublishAnswer, arrival_ns: int) -> None:
        """Pass on the answer to a publish; an answer to an unknown or completed publish is dropped."""
        on_answer = self._waiting.pop(publish_id, None)
        if on_answer is not None:
            on_answer(answer, arrival_ns)

    def lost(self, at_ns: int, on_failed: OnFailed) -> None:
        """Call each waiting ``on_answer`` with None, as no answer will come; pass its exceptions to ``on_failed``."""
        waiting, self._waiting = self._waiting, {}
        for on_answer in waiting.values():
            try:
                on_answer(None, at_ns)
            except Exception as error:
                on_failed(error)
