"""Compare a load with a service's quotas and the ceilings of its plans, and find which binds first."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from loadgen.planning.services.bill import fitting
from loadgen.planning.services.load import AXES, Axis, Load
from loadgen.planning.services.models import (
    QUOTAS,
    Certainty,
    PlanChoice,
    Quantity,
    QuotaName,
    Service,
    exact,
)
from loadgen.planning.services.span import ZERO

Unit = Literal["/s", "bytes", "bytes/s", "s", ""]
#: Label and unit of each quota.
LABELS: Final[Mapping[QuotaName, tuple[str, Unit]]] = {
    "new_connections_per_s": ("new connections", "/s"),
    "subscribes_per_s": ("subscribes", "/s"),
    "inbound_events_per_s": ("events published", "/s"),
    "outbound_messages_per_s": ("messages delivered", "/s"),
    "messages_per_s": ("messages published and delivered", "/s"),
    "requests_per_s": ("calls of the account (publishes and deliveries)", "/s"),
    "request_tokens_per_s": ("request tokens of the account", "/s"),
    "publishes_per_connection_per_s": ("publishes over one connection", "/s"),
    "deliveries_per_connection_per_s": ("deliveries to one connection", "/s"),
    "bytes_per_connection_per_s": ("bytes to one connection", "bytes/s"),
    "subscriptions_per_connection": ("subscriptions of a connection", ""),
    "events_per_publish": ("events of a publish request", ""),
    "event_bytes": ("size of an event", "bytes"),
    "connections": ("connections at once", ""),
    "connection_seconds": ("how long a connection lasts", "s"),
}
#: Quotas that never bind, because a client that reaches such a quota can connect again.
_RENEWED: Final = frozenset({"connection_seconds"})
#: Quotas that limit only how many events a request carries. Publishers choose this number, so these quotas are shown
#: only if a load exceeds them.
_OF_REQUESTS: Final = frozenset({"events_per_publish"})
_OF_RAMPS: Final = frozenset({"new_connections_per_s", "subscribes_per_s"})
#: Quotas whose true use may be higher than the computed use, for example because some connections receive more than the
#: mean.
_AT_LEAST: Final = frozenset(
    {"deliveries_per_connection_per_s", "bytes_per_connection_per_s", "request_tokens_per_s"}
)
_PLAN_LABELS: Final[Mapping[Quantity, tuple[str, Unit]]] = {
    "connection": ("connections of the plan", ""),
    "user": ("users of the plan", ""),
    "message_per_s": ("messages of the plan", "/s"),
    "message_per_hour": ("messages an hour of the plan", ""),
    "message_per_day": ("messages a day of the plan", ""),
}
#: To find the quota that binds first, a load is multiplied or divided by up to `_MOST_GROWTH`, in at most `_STEPS`
#: bisections.
_MOST_GROWTH: Final = 10**6
_STEPS: Final = 44


@dataclass(frozen=True, slots=True)
class Use:
    """A load's peak use of a quota, or of a plan's ceiling."""

    name: str
    label: str
    unit: Unit
    asked: Fraction | None
    """Use at the peak, or None if unknown."""
    least: Fraction | None
    """The quota, or its lowest value if sources differ; None if there is no quota or if it is unknown."""
    most: Fraction | None
    """The quota, or its highest value if sources differ; None if there is no quota or if it is unknown."""
    certainty: Certainty
    source: str
    adjustable: bool | None = None
    at_least: bool = False
    """True if `asked` is a lower bound: the service may count more."""
    binds: bool = True
    """False if the quota never limits the load, such as the longest lifetime of a connection."""
    takes_s: Fraction | None = None
    """For rates of connects and subscribes: minimum time (s) in which all clients can connect or subscribe."""

    @property
    def share(self) -> Fraction | None:
        """Share of the quota used at the peak, or None if unknown."""
        if self.asked is None or self.least is None:
            return None
        return self.asked / self.least


def uses(service: Service, offer: str, load: Load, *, largest_plan: bool = False) -> list[Use]:
    """Return the load's use of each quota that the service's file has, and of the ceilings of the offer's plan.

    The plan is the cheapest one that fits the load, or the last one if none fits or ``largest_plan`` is true.
    """
    found = []
    for name in QUOTAS:
        limit = service.quotas.get(name)
        if limit is None:
            continue
        label, unit = LABELS[name]
        least = None if limit.least is None else exact(limit.least)
        unit_bytes = None if limit.unit_bytes is None else exact(limit.unit_bytes)
        asked = _ASKED[name](load, unit_bytes) if load.known or name in _RENEWED else None
        found.append(
            Use(
                name,
                f"{label} ({float(unit_bytes) / 1024:g} KB units)" if unit_bytes is not None else label,
                unit,
                asked,
                least,
                None if limit.most is None else exact(limit.most),
                limit.certainty,
                limit.source,
                limit.adjustable,
                name in _AT_LEAST,
                name not in _RENEWED
                and (name not in _OF_REQUESTS or None in (asked, least) or (asked or ZERO) > (least or ZERO)),
                _takes_s(name, load, least),
            )
        )
    used = load.used_in_month()
    for line_name in service.offers[offer].lines:
        line = service.line(line_name)
        if not isinstance(line, PlanChoice):
            continue
        plan = None if largest_plan else fitting(line, used)
        plan = plan or line.choices[-1]
        for quantity, ceiling in plan.up_to.items():
            label, unit = _PLAN_LABELS.get(quantity, (f"{quantity} of the plan", ""))
            found.append(
                Use(
                    f"{line_name}.{quantity}",
                    f"{label} {plan.name}",
                    unit,
                    used.count(quantity),
                    exact(ceiling),
                    exact(ceiling),
                    plan.certainty,
                    plan.source,
                )
            )
    return found


def growing(service: Service, offer: str, load: Load, *, largest_plan: bool = False) -> list[Use]:
    """Return the :func:`uses` that grow with the load.

    The rates of connects and subscribes are left out, because a larger load can spread them over a longer time.
    """
    return [use for use in uses(service, offer, load, largest_plan=largest_plan) if use.name not in _OF_RAMPS]


def lifetime_s(service: Service) -> Fraction | None:
    """Return the time after which the service ends a connection, in seconds, or None if unknown."""
    limit = service.quotas.get("connection_seconds")
    return None if limit is None or limit.least is None else exact(limit.least)


def tightest(found: list[Use]) -> Use | None:
    """Return the quota of which the largest share is used, or None if no share is known or all are zero."""
    known = [(use.share, use) for use in found if use.binds and use.share]
    return max(known, key=lambda each: each[0])[1] if known else None


@dataclass(frozen=True, slots=True)
class Headroom:
    """How far one number of a load (axis) can grow until a quota or the largest plan is exceeded."""

    axis: Axis
    factor: float | None
    """Largest factor of growth; below 1 if a quota is exceeded already, None if no known quota binds."""
    use: Use | None


def headrooms(service: Service, offer: str, load: Load) -> list[Headroom]:
    """Return how far each number of the load (axis) can grow until a quota or the largest plan is exceeded.

    The rates of connects and subscribes are left out, because a larger load can spread them over time.
    """
    return [_headroom(service, offer, load, axis) for axis in AXES]


def _headroom(service: Service, offer: str, load: Load, axis: Axis) -> Headroom:
    def over(factor: Fraction) -> Use | None:
        use = tightest(growing(service, offer, load.grown(axis, factor), largest_plan=True))
        return use if use is not None and (use.share or ZERO) > 1 else None

    low, high = Fraction(1, _MOST_GROWTH), Fraction(_MOST_GROWTH)
    binding = over(high)
    if binding is None:
        return Headroom(axis, None, None)
    if (always := over(low)) is not None:
        # The quota is exceeded even if this axis of the load is divided by `_MOST_GROWTH`.
        return Headroom(axis, float(low), always)
    for _ in range(_STEPS):
        # The geometric mean of `low` and `high`, rounded to a fraction with a denominator of at most 10**12.
        middle = Fraction(float(low) ** 0.5 * float(high) ** 0.5).limit_denominator(10**12)
        if not low < middle < high:
            break
        use = over(middle)
        if use is None:
            low = middle
        else:
            high, binding = middle, use
    return Headroom(axis, float(low), binding)


def _takes_s(name: str, load: Load, least: Fraction | None) -> Fraction | None:
    if least is None:
        return None
    if name == "new_connections_per_s":
        return load.connections / least
    return load.subscriptions / least if name == "subscribes_per_s" else None


def _calls(load: Load, _: Fraction | None) -> Fraction | None:
    outbound = load.peak_outbound_per_s()
    return None if outbound is None else load.peak_requests_per_s() + outbound


def _each(total: Fraction | None, load: Load) -> Fraction | None:
    return None if total is None else total / load.connections if load.connections else ZERO


_ASKED: Final[Mapping[QuotaName, Callable[[Load, Fraction | None], Fraction | None]]] = {
    "new_connections_per_s": lambda load, _: load.connects_per_s,
    "subscribes_per_s": lambda load, _: load.subscribes_per_s,
    "inbound_events_per_s": lambda load, _: load.peak_inbound_per_s(),
    "outbound_messages_per_s": lambda load, unit: load.peak_outbound_per_s(unit),
    "messages_per_s": lambda load, _: load.peak_messages_per_s(),
    "requests_per_s": _calls,
    "request_tokens_per_s": lambda load, _: load.peak_requests_per_s(),
    "publishes_per_connection_per_s": lambda load, _: max(
        (stream.each_connection_per_s for stream in load.streams), default=ZERO
    ),
    # The next two figures are means over all connections; some connections receive more.
    "deliveries_per_connection_per_s": lambda load, _: _each(load.peak_outbound_per_s(), load),
    "bytes_per_connection_per_s": lambda load, _: _each(load.peak_bytes_out_per_s(), load),
    "subscriptions_per_connection": lambda load, _: load.subscriptions_most,
    "events_per_publish": lambda load, _: Fraction(max((stream.batch for stream in load.streams), default=0)),
    "event_bytes": lambda load, _: max((stream.most_bytes for stream in load.streams), default=ZERO),
    "connections": lambda load, _: load.connections,
    "connection_seconds": lambda load, _: load.month.hours_per_day * 3600,
}
