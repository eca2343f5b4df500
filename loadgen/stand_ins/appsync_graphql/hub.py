"""Fan-out: find the subscriptions whose arguments equal the fields of a mutation's result, and write to each."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from loadgen.server.frames import text_header
from loadgen.stand_ins.appsync_graphql.completion import Selected, complete, visible
from loadgen.stand_ins.appsync_graphql.schema import Call, Compiled
from loadgen.stand_ins.appsync_graphql.settings import GraphqlSettings
from loadgen.stand_ins.journal import Journal

#: Maximum number of unsent bytes of a connection; a connection with more is cut.
WRITE_BUFFER_LIMIT_BYTES: Final = 16 * 1024 * 1024
_encode = msgspec.json.Encoder().encode


class Subscription:
    """One subscription of one connection; compared by identity."""

    __slots__ = ("acknowledged_ns", "compiled", "connection", "head", "id", "names", "outlet", "values")

    def __init__(
        self,
        subscription_id: str,
        compiled: Compiled,
        arguments: Mapping[str, Any],
        connection: int,
        outlet: "Outlet",
    ) -> None:
        self.id = subscription_id
        self.compiled = compiled
        self.connection = connection
        self.outlet = outlet
        # An argument that is left out, or null, matches any value (secondary source: advancedweb.hu).
        given = sorted((name, value) for name, value in arguments.items() if value is not None)
        self.names = tuple(name for name, _ in given)
        self.values = tuple(_key(value) for _, value in given)
        self.head = b'{"id":' + _encode(subscription_id) + b',"type":"data","payload":'
        self.acknowledged_ns = 0


class Outlet:
    """The sending side of a connection."""

    __slots__ = ("abort", "buffered_bytes", "write")

    def __init__(
        self, write: Callable[[bytes], None], buffered_bytes: Callable[[], int], abort: Callable[[], None]
    ) -> None:
        self.write = write
        self.buffered_bytes = buffered_bytes
        self.abort = abort


class Hub:
    """The subscriptions of all connections."""

    def __init__(
        self, settings: GraphqlSettings, journal: Journal, now_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._now_ns = now_ns
        self._settings = settings
        self._journal = journal
        #: The subscriptions, keyed by field name, then by the names of the arguments given, then by these arguments'
        #: values.
        self._index: dict[str, dict[tuple[str, ...], dict[tuple[Any, ...], dict[Subscription, None]]]] = {}
        #: Number of deliveries so far that `lose_every` counts: every Nth of them is lost on purpose.
        self._due = 0

    def add(self, subscription: Subscription) -> None:
        """Begin to deliver to the subscription."""
        subscription.acknowledged_ns = self._now_ns()
        by_names = self._index.setdefault(_call(subscription.compiled).name, {})
        by_values = by_names.setdefault(subscription.names, {})
        by_values.setdefault(subscription.values, {})[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        """End the subscription."""
        by_names = self._index[_call(subscription.compiled).name]
        by_values = by_names[subscription.names]
        bucket = by_values[subscription.values]
        del bucket[subscription]
        if not bucket:
            del by_values[subscription.values]
        if not by_values:
            del by_names[subscription.names]

    def publish(self, call: Call, result: Any) -> None:
        """Deliver the result of a mutation to each subscription that listens to it and whose arguments match."""
        source = visible(call.selected, result)
        fields = source if isinstance(source, dict) else {}
        for listener in self._settings.schema.listeners.get(call.selected.name, ()):
            for names, by_values in self._index.get(listener, {}).items():
                bucket = by_values.get(tuple(_key(fields.get(name)) for name in names))
                if bucket:
                    self._write(bucket, source, fields)

    def _write(self, bucket: Mapping[Subscription, None], source: Any, fields: Mapping[str, Any]) -> None:
        settings = self._settings
        lossy = bool(settings.lose_every or settings.lose_after_start_ack_ns)
        tails: dict[Compiled, bytes | None] = {}
        compiled, tail = None, None
        for subscription in list(bucket):
            if subscription.compiled is not compiled:
                compiled = subscription.compiled
                if compiled not in tails:
                    tails[compiled] = self._tail(_call(compiled), source)
                tail = tails[compiled]
            if tail is None:
                self._lost("payload", subscription, fields)
                continue
            if lossy and (why := self._why_lost(subscription)) is not None:
                self._lost(why, subscription, fields)
                continue
            head, outlet = subscription.head, subscription.outlet
            try:
                outlet.write(b"".join((text_header(len(head) + len(tail)), head, tail)))
            except RuntimeError:
                # Ignore the error: the connection has just closed, and its task has not removed its subscriptions yet.
                continue
            if outlet.buffered_bytes() > WRITE_BUFFER_LIMIT_BYTES:
                outlet.abort()

    def _tail(self, selected: Selected, source: Any) -> bytes | None:
        """Return a `data` message from its payload to its end, or None if the payload is larger than allowed."""
        errors: list[dict[str, Any]] = []
        payload: dict[str, Any] = {
            "data": {selected.key: complete(selected, source, "Subscription", f"/{selected.key}", errors)}
        }
        if errors:
            payload["errors"] = errors
        written = _encode(payload)
        return None if len(written) > self._settings.payload_bytes else written + b"}"

    def _why_lost(self, subscription: Subscription) -> str | None:
        """Return why a delivery is lost on purpose, or None if it is not."""
        settings = self._settings
        if self._now_ns() - subscription.acknowledged_ns < settings.lose_after_start_ack_ns:
            return "after-start-ack"
        if settings.lose_every:
            self._due += 1
            if self._due % settings.lose_every == 0:
                return "every"
        return None

    def _lost(self, why: str, subscription: Subscription, fields: Mapping[str, Any]) -> None:
        """Write a loss to the journal; the longest text among the result's fields is taken to be the event."""
        texts = [value for value in fields.values() if isinstance(value, str)]
        event = max(texts, key=len, default=None)
        self._journal.lost(why, event, connection=subscription.connection, subscription=subscription.id)


def _call(compiled: Compiled) -> Selected:
    return compiled.calls[0].selected


def _key(value: Any) -> Any:
    """Return a hashable key for a value: the JSON text of a list or object, else the value itself."""
    return value if isinstance(value, str | int | float | None) else _encode(value)
