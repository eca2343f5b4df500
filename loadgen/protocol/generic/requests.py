"""The requests of one connection that await an answer, and the subscriptions that its deliveries name."""

from collections import deque
from typing import Any, NamedTuple

from loadgen.protocol.generic.description import Exchange, Identity
from loadgen.protocol.generic.patterns import Found
from loadgen.protocol.generic.rules import Rule


class Request(NamedTuple):
    """A request: its kind (`publish`, `subscribe` or `unsubscribe`), and the id that the client gave it."""

    kind: str
    id: str


class Requests:
    """Numbers requests, and matches each answer to its request by a value in the answer or by the order of requests."""

    __slots__ = ("_awaited", "_number", "_queues")

    def __init__(self) -> None:
        self._number = 0
        #: Requests whose answers contain an identifying value, by the kind of that value and the value.
        self._awaited: dict[tuple[Identity, str | int], Request] = {}
        #: Requests that are answered in order, by the pattern of the answer.
        self._queues: dict[str, deque[Request]] = {}

    def add(self, exchange: Exchange, kind: str, id_: str, channel: str, number: int | None = None) -> int:
        """Remember a request until it is answered; return its number, by default the next one."""
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
        """Return the request that an answer belongs to, and forget it; None if no such request awaits an answer."""
        if rule.identity is not None:
            return self._awaited.pop((rule.identity, getattr(found, rule.identity)), None)
        waiting = self._queues.get(rule.queue)
        return waiting.popleft() if waiting else None


class Routes:
    """Finds the subscription of a delivery by the id, channel or number in it.

    If deliveries contain none of these, the connection has a single subscription, `only`.
    """

    __slots__ = ("by_channel", "by_number", "only")

    def __init__(self) -> None:
        self.by_number: dict[int, str] = {}
        self.by_channel: dict[str, str] = {}
        self.only = ""

    def subscription_of(self, found: Found) -> str:
        """Return the subscription id of a delivery.

        An unknown channel or number is itself returned as the id, so that the delivery counts as unknown.
        """
        if found.id is not None:
            return found.id
        if found.channel is not None:
            return self.by_channel.get(found.channel, found.channel)
        if found.number is not None:
            return self.by_number.get(found.number, str(found.number))
        return self.only

    def names_of(self, subscription_id: str) -> tuple[int, str]:
        """Return the number and channel of a subscription, or 0 and an empty text if it is unknown."""

        def key_of(known: dict[Any, str], missing: Any) -> Any:
            return next((each for each, id_ in known.items() if id_ == subscription_id), missing)

        return key_of(self.by_number, 0), key_of(self.by_channel, "")
