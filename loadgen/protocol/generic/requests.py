"""The requests of one connection that wait for an answer, and the subscriptions that deliveries name."""

from collections import deque
from typing import Any, NamedTuple

from loadgen.protocol.generic.description import Exchange, Identity
from loadgen.protocol.generic.patterns import Found
from loadgen.protocol.generic.rules import Rule


class Request(NamedTuple):
    """What was asked for (`publish`, `subscribe` or `unsubscribe`), and the id that its owner knows it by."""

    kind: str
    id: str


class Requests:
    """Numbers requests, and finds the one that an answer belongs to: by what the answer names, or by its turn."""

    __slots__ = ("_awaited", "_number", "_queues")

    def __init__(self) -> None:
        self._number = 0
        #: Those whose answer names them, by what they are recognised by.
        self._awaited: dict[tuple[Identity, str | int], Request] = {}
        #: Those that are answered in order, by the pattern of the answer.
        self._queues: dict[str, deque[Request]] = {}

    def add(self, exchange: Exchange, kind: str, id_: str, channel: str, number: int | None = None) -> int:
        """Number a request, and remember it until it is answered; return its number."""
        if number is None:
            self._number = number = self._number + 1
        if exchange.accepted is None:
            return number
        if exchange.identity is None:
            self._queues.setdefault(exchange.accepted.written, deque()).append(Request(kind, id_))
        else:
            keys: dict[Identity, str | int] = {"id": id_, "number": number, "channel": channel}
            self._awaited[exchange.identity, keys[exchange.identity]] = Request(kind, id_)
        return number

    def answered(self, rule: Rule, found: Found) -> Request | None:
        """Return the request that an answer belongs to, which waits no more; None: nobody has asked."""
        if rule.identity is not None:
            return self._awaited.pop((rule.identity, getattr(found, rule.identity)), None)
        waiting = self._queues.get(rule.queue)
        return waiting.popleft() if waiting else None


class Routes:
    """Which subscription a delivery belongs to, by what it names; a delivery that names nothing is of the only one."""

    __slots__ = ("by_channel", "by_number", "only")

    def __init__(self) -> None:
        self.by_number: dict[int, str] = {}
        self.by_channel: dict[str, str] = {}
        self.only = ""

    def subscription_of(self, found: Found) -> str:
        """Return its id; what names no subscription of ours stands for itself, and is counted as unknown."""
        if found.id is not None:
            return found.id
        if found.channel is not None:
            return self.by_channel.get(found.channel, found.channel)
        if found.number is not None:
            return self.by_number.get(found.number, str(found.number))
        return self.only

    def names_of(self, subscription_id: str) -> tuple[int, str]:
        """Return the number and the channel of a subscription; 0 and nothing where it is not known."""

        def key_of(known: dict[Any, str], missing: Any) -> Any:
            return next((each for each, id_ in known.items() if id_ == subscription_id), missing)

        return key_of(self.by_number, 0), key_of(self.by_channel, "")
