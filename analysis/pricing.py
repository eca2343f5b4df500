"""Compute the cost of counted operations in US dollars, from the prices in the run's record.

The prices are the mapping `prices` of `manifest.json` (results/README.md). A number or price of None is unknown, and so
is every cost that depends on it.
"""

from collections.abc import Mapping
from typing import Any

#: Operation counted in a run → kind of operation in the price file.
KINDS = {
    "publish": "publish",
    "delivery": "delivery",
    "foreign": "delivery",
    "probe_publish": "publish",
    "probe_delivery": "delivery",
    "connect": "connect",
    "subscribe": "subscribe",
    "handler": "handler",
    "keepalive": "keepalive",
}
_MILLION = 1e6
_GB = 1e9


def units(size_bytes: int, unit_bytes: int) -> int:
    """Return the number of messages billed for an event: one for each unit or part of a unit, and at least one."""
    return max(1, -(-size_bytes // unit_bytes))


def bill(
    counted: Mapping[str, float | None],
    connection_minutes: float | None,
    bytes_out: float | None,
    prices: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the cost in US dollars of operations (by the names in `KINDS`), connection-minutes and outgoing bytes.

    `total` is the sum of the known costs that are certainly billed, `unclear` the sum of the costs that may be billed;
    both are None if the price of an operation is unknown. `unknown` names the items whose number or price is unknown.
    """
    each = prices["usd_per_million_operations"]
    usd: dict[str, float | None] = {}
    total = unclear = 0.0
    unknown = []
    for name, kind in KINDS.items():
        counts, number = prices["counts"][kind], counted.get(name)
        if counts == "never":
            usd[name] = 0.0
            continue
        cost = None if number is None or each is None else number * each / _MILLION
        usd[name] = cost
        if cost is None:
            unknown.append(name)
        elif counts == "always":
            total += cost
        else:
            unclear += cost
    for name, number, price, per in (
        ("connection_minutes", connection_minutes, prices["usd_per_million_connection_minutes"], _MILLION),
        ("data_out", bytes_out, prices["usd_per_gb_out"], _GB),
    ):
        cost = None if number is None or price is None else number * price / per
        usd[name] = cost
        if cost is None:
            unknown.append(name)
        else:
            total += cost
    return {
        "usd": usd,
        "total": None if each is None else total,
        "unclear": None if each is None else unclear,
        "unknown": unknown,
    }


def operations(counted: Mapping[str, float | None], prices: Mapping[str, Any]) -> float:
    """Return the number of counted operations that are known and certainly billed."""
    return sum(counted.get(name) or 0 for name, kind in KINDS.items() if prices["counts"][kind] == "always")


def money(usd: float | None) -> str:
    """Return an amount in US dollars as text: two decimals from $1 on, two significant digits below $1."""
    if usd is None:
        return "–"
    if usd == 0:
        return "$0"
    if abs(usd) >= 0.995:
        return f"${usd:,.2f}"
    if abs(usd) < 0.000_000_5:
        return "< $0.000001"
    digits = 2
    while digits < 6 and abs(usd) < 10 ** (1 - digits):
        digits += 1
    return f"${usd:.{digits}f}"
