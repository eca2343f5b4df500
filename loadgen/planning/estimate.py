"""Put together the estimate of a scenario: operations, money, quotas, and the machines it needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import pricing
from loadgen.measure.surroundings import allowed_here
from loadgen.planning import replies
from loadgen.planning.calibration import Calibration
from loadgen.planning.fanout import GroupLoad
from loadgen.planning.fleet import Asked, Fleet, Machines, fleet
from loadgen.planning.machine import PLANNED_SHARE, Needs, needs
from loadgen.planning.operations import Handler, Usage, of_hour, of_run
from loadgen.planning.peaks import Rates, peak
from loadgen.planning.prices import Prices
from loadgen.planning.quotas import Use, uses
from loadgen.resolve import ResolvedRun

HOURS_A_MONTH = 730
"""Hours in a month as AWS's pricing examples count them: 365 days × 24 / 12."""
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Cost:
    """Expected usage of a run, and its bill."""

    loads: Sequence[GroupLoad]
    usage: Usage
    bill: dict[str, Any]
    spelled_out: bool
    """True if the costs are of the subscriptions that the scenario's seed gives; false if averaged over all seeds."""

    @property
    def usd(self) -> float | None:
        """Cost of a run in US dollars, or None if a price or the number of deliveries is unknown."""
        total: float | None = self.bill["total"]
        return total if self.usage.operations["delivery"] is not None else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Everything `loadgen plan` shows of a scenario."""

    run: ResolvedRun
    prices: Prices
    cost: Cost
    hour: Usage
    handlers: frozenset[Handler]
    uses: Sequence[Use]
    needs: Needs
    calibration: Calibration | None
    why_uncalibrated: str
    fleet: Fleet
    unpriced: str | None = None
    """Name of the target's service if its prices and quotas are unknown. The estimate then shows no costs or quotas."""

    @property
    def run_s(self) -> float:
        """Seconds of ramp, publishing and drain, without the wait until all subscriptions are proven ready."""
        phases = self.run.phases
        return (self.run.totals.ramp_ns + phases.publishing_ns + phases.drain_ns) / 1e9

    def binding(self, headroom: Callable[[Use], float | None]) -> tuple[Use, float] | None:
        """Return the quota with the smallest headroom and that headroom, or None if no quota has one.

        ``headroom`` returns the factor by which the scenario can grow until it reaches a quota, or None.
        """
        found = [(factor, use) for use in self.uses if (factor := headroom(use)) is not None]
        if not found:
            return None
        factor, use = min(found, key=lambda each: each[0])
        return use, factor

    def to_dict(self) -> dict[str, Any]:
        """Return the estimate as JSON values; null means unknown."""
        found = self._to_dict()
        if self.unpriced is not None:
            found |= dict.fromkeys(("prices", "run", "hour", "month", "quotas", "binds_first"))
        return {**found, "unpriced": self.unpriced}

    def _to_dict(self) -> dict[str, Any]:

        def bound(found: tuple[Use, float] | None) -> dict[str, Any] | None:
            return None if found is None else {"quota": found[0].name, "factor": found[1]}

        return {
            "format": FORMAT,
            "scenario": self.run.name,
            "seconds": self.run_s,
            "clients": self.run.totals.clients,
            "connections": None if self.run.journeys else self.run.totals.websockets,
            "subscriptions": None if self.run.journeys else self.run.totals.subscriptions,
            "subscribers_spelled_out": self.cost.spelled_out,
            "groups": [
                {
                    "name": load.name,
                    "requests": load.requests,
                    "events": load.events,
                    "deliveries": load.deliveries,
                    "subscribers_per_event": load.subscribers,
                }
                for load in self.cost.loads
            ],
            "handlers": sorted(handler.value for handler in self.handlers),
            "prices": self.prices.snapshot(),
            "run": _usage(self.cost.usage, self.prices),
            "hour": _usage(self.hour, self.prices),
            "month": {"hours": HOURS_A_MONTH, **_usage(self.hour.times(HOURS_A_MONTH), self.prices)},
            "quotas": [
                {
                    "name": use.name,
                    "asked": use.asked,
                    "at_least": use.at_least,
                    "quota": use.quota.value,
                    "share": use.share,
                    "adjustable": use.quota.adjustable,
                    "certainty": use.quota.certainty,
                }
                for use in self.uses
            ],
            "binds_first": {
                "as_it_is": bound(self.tightest()),
                "rates": bound(self.binding(lambda use: use.rate_headroom)),
                "clients": bound(self.binding(lambda use: use.clients_headroom)),
            },
            "machine": {
                "planned_share_of_a_core": PLANNED_SHARE,
                **self.needs.to_dict(),
                "calibrated_at": None if self.calibration is None else self.calibration.measured_at,
                "why_uncalibrated": self.why_uncalibrated or None,
            },
            "fleet": self.fleet.to_dict(),
        }

    def tightest(self) -> tuple[Use, float] | None:
        """Return the rate quota with the least headroom, and the ratio of the quota to the scenario's use of it."""
        return self.binding(lambda use: 1 / use.share if use.share and use.unit == "/s" else None)


def cost_of(run: ResolvedRun, prices: Prices, handlers: frozenset[Handler] = frozenset()) -> Cost:
    """Return the expected usage and cost of a run."""
    run, seen, loads = replies.planned(run)
    usage = of_run(run, loads, None if seen is None else seen.patterns, prices, handlers)
    return Cost(loads, usage, usage.bill(prices), seen is not None and seen.spelled_out)


def estimate(
    run: ResolvedRun,
    prices: Prices,
    handlers: frozenset[Handler] = frozenset(),
    calibration: Calibration | None = None,
    why_uncalibrated: str = "",
    unpriced: str | None = None,
    machines: Machines | None = None,
) -> Estimate:
    """Return the estimate of a run; ``why_uncalibrated`` and ``unpriced`` are passed on to `Estimate`.

    ``machines`` describes the machines workers would run on, by default this one.
    """
    cost = cost_of(run, prices, handlers)
    run, _, _ = replies.planned(run)
    need = needs(run, cost.loads, calibration, this_kind().cpus)
    return Estimate(
        run=run,
        prices=prices,
        cost=cost,
        hour=of_hour(run, cost.loads, prices, handlers),
        handlers=handlers,
        uses=uses(run, cost.loads, prices),
        needs=need,
        calibration=calibration,
        why_uncalibrated=why_uncalibrated,
        unpriced=unpriced,
        fleet=fleet(_asked(run, cost, need, prices), calibration, machines or this_kind()),
    )


def this_kind() -> Machines:
    """Return this machine's CPUs and memory, or this container's limits, as a `Machines`."""
    allowed = allowed_here()
    memory = allowed.memory_bytes
    return Machines(allowed.cores or 1.0, None if memory is None else float(memory))


def _asked(run: ResolvedRun, cost: Cost, need: Needs, prices: Prices) -> Asked:
    connecting = [group for group in run.groups if group.holds_connections]
    outbound = Rates(run, cost.loads).outbound()
    reached = [load.subscribers for load in cost.loads]
    return Asked(
        needs=need,
        connections=run.totals.websockets,
        connects_per_s=sum(group.connects_per_s for group in connecting),
        connect_s=max((group.count / group.ramp_per_s for group in connecting), default=0.0),
        most_at_once=None if None in reached else max((each for each in reached if each), default=0.0),
        deliveries_per_s=None if outbound is None else peak(outbound),
        event_bytes=float(max((each.mean_bytes for each in run.publishing.values()), default=0)),
        connect_quota=prices.quotas.new_connections_per_s.value,
    )


def _usage(usage: Usage, prices: Prices) -> dict[str, Any]:
    bill = usage.bill(prices)
    return {
        "operations": dict(usage.operations),
        "operations_billed": pricing.operations(usage.operations, prices.snapshot()),
        "connection_minutes": usage.connection_minutes,
        "bytes_out": usage.bytes_out,
        "usd": bill["usd"],
        "usd_total": bill["total"],
        "usd_unclear": bill["unclear"],
        "unknown": bill["unknown"],
    }
