"""Make AppSync Events a `Service` from its own price file, so that its prices and quotas exist in one place only."""

from typing import Any, Final

from loadgen.planning.prices import Figure, Prices, Quota
from loadgen.planning.services.models import Limit, Line, Offer, Price, Service

_GB: Final = 1e9
_MILLION: Final = 1e6
#: Kinds of operations in the price file, and the quantity of the load from which the number of operations is computed.
#: Keep-alives are computed from connection-minutes.
_COUNTED: Final = {
    "publish": "publish",
    "delivery": "delivery",
    "connect": "connect",
    "subscribe": "subscribe",
    "handler": "handler",
    "keepalive": "connection_minute",
}
_QUOTAS: Final = (
    "new_connections_per_s",
    "subscribes_per_s",
    "inbound_events_per_s",
    "outbound_messages_per_s",
    "request_tokens_per_s",
    "publishes_per_connection_per_s",
    "subscriptions_per_connection",
    "events_per_publish",
    "event_bytes",
    "connections",
    "connection_seconds",
)


def service_of(prices: Prices, rest: Service) -> Service:
    """Return ``rest`` with the facts of a price file; ``rest`` has the service's name and all facts the file lacks."""
    operation = prices.prices.usd_per_million_operations
    data_out = prices.prices.usd_per_gb_out
    return rest.model_copy(
        update={
            "region": prices.region,
            "prices": {
                "operation": _price(operation, _MILLION),
                "connection_minute": _price(prices.prices.usd_per_million_connection_minutes, _MILLION),
                "data_out": rest.prices["data_out"] if data_out.value is None else _price(data_out, _GB),
            },
            "lines": {
                "operations": _operations(prices),
                "connection_minutes": Line.model_validate(
                    {
                        "title": "connection-minutes",
                        "counts": [{"quantity": "connection_minute"}],
                        "price": "connection_minute",
                    }
                ),
                **rest.lines,
            },
            "offers": {
                name: Offer(
                    title=offer.title,
                    lines=("operations", "connection_minutes", *offer.lines),
                    note=offer.note,
                )
                for name, offer in rest.offers.items()
            },
            "quotas": {
                name: _limit(
                    getattr(prices.quotas, name),
                    prices.unit_bytes if name == "outbound_messages_per_s" else None,
                )
                for name in _QUOTAS
            },
        }
    )


def _operations(prices: Prices) -> Line:
    terms: list[dict[str, Any]] = []
    for kind, quantity in _COUNTED.items():
        counting = getattr(prices.operations, kind)
        if counting.counts == "never":
            continue
        term: dict[str, Any] = {"quantity": quantity}
        if kind in ("publish", "delivery"):
            term["unit_bytes"] = float(prices.unit_bytes)
        if kind == "keepalive":
            term["times"] = 60 / prices.metering.keepalive_interval_s.value
        if counting.counts == "unclear":
            term["unclear"] = f"whether {_PLURALS[kind]} are billed is unclear"
        terms.append(term)
    # If the price file says that no operation is billed, the line counts zero publishes.
    counts = terms or [{"quantity": "publish", "times": 0}]
    return Line.model_validate({"title": "operations", "counts": counts, "price": "operation"})


_PLURALS: Final = {
    "publish": "publishes",
    "delivery": "deliveries",
    "connect": "connects",
    "subscribe": "subscribes",
    "handler": "handler invocations",
    "keepalive": "the service's keep-alives",
}


def _price(figure: Figure, per: float) -> Price:
    return Price(
        usd=figure.value,
        per=per,
        source=figure.source,
        as_of=figure.as_of,
        certainty=figure.certainty,
        note=figure.note,
    )


def _limit(quota: Quota, unit_bytes: int | None) -> Limit:
    return Limit(
        value=quota.value,
        unit_bytes=unit_bytes,
        adjustable=quota.adjustable,
        code=quota.code,
        source=quota.source,
        as_of=quota.as_of,
        certainty=quota.certainty,
        note=quota.note,
    )
