"""Keeping a run from costing more than was meant: before it begins, and while it goes on."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from analysis import pricing
from loadgen.planning.estimate import Cost, cost_of
from loadgen.planning.prices import Prices
from loadgen.protocol.base import TargetProtocol
from loadgen.protocol.registry import APPSYNC_EVENTS
from loadgen.scenario import Plan, Scenario

#: From which estimate on a run against a real target must be confirmed. A million operations: more than a short run of
#: any catalogue scenario as it stands, less than anybody would miss.
CONFIRM_USD = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """What is to be said of a run's cost before it begins."""

    refusal: str | None = None
    """Why it must not begin."""
    question: str | None = None
    """What must be confirmed before it does."""


def check(
    scenario: Scenario,
    plan: Plan,
    prices: Prices,
    max_usd: float | None,
    url: str | None,
    target: TargetProtocol = APPSYNC_EVENTS,
) -> Check:
    """Return whether a run may begin; ``url`` is that of a target that bills, None for one on this machine."""
    if not target.priced:
        return _without_prices(scenario, max_usd, url if target.bills else None, target)
    if max_usd is None and url is None:
        return Check()
    if max_usd is not None and not (isfinite(max_usd) and max_usd >= 0):
        return Check(f"--max-cost must be an amount of US dollars such as 0.50, not {max_usd}")
    cost = cost_of(scenario, plan, prices)
    name, usd = scenario.name, cost.usd
    if usd is None:
        why = "too many channels" if cost.usage.operations["delivery"] is None else "a price is not known"
        if max_usd is not None:
            return Check(
                f"the cost of {name} cannot be estimated ({why}), so with --max-cost the run is not started:"
                " leave that out, or change the scenario"
            )
        return Check(question=f"the cost of {name} against {url} cannot be estimated ({why})")
    if max_usd is not None and usd > max_usd:
        return Check(
            f"a run of {name} is estimated at {pricing.money(usd)} on AWS, more than --max-cost"
            f" {pricing.money(max_usd)}: it is not started; `loadgen plan` says what costs how much"
        )
    if url is not None and usd >= CONFIRM_USD:
        return Check(question=f"a run of {name} against {url} is estimated at {pricing.money(usd)} on AWS")
    return Check()


def _without_prices(
    scenario: Scenario, max_usd: float | None, url: str | None, target: TargetProtocol
) -> Check:
    if max_usd is not None:
        return Check(
            f"no prices of {target.title} are known here, so --max-cost has nothing to go by: leave it out"
        )
    if url is not None:
        return Check(
            question=f"{target.title} bills each message, and what a run of {scenario.name} against {url} costs is"
            " not known here"
        )
    return Check()


def unconfirmed(question: str) -> str:
    """Return the refusal of a run that was not confirmed."""
    return f"{question}, and nobody can be asked: confirm it with --yes"


class Budget:
    """Watches what a run has used so far, by the workers' counts.

    Events count as many messages as the scenario's payload sizes say on average; the record, which knows each event's
    size, has the last word.
    """

    def __init__(self, prices: Prices, max_usd: float, cost: Cost) -> None:
        self._prices = prices.snapshot()
        self._max_usd = max_usd
        events = sum(load.events for load in cost.loads)
        deliveries = sum(load.deliveries or 0.0 for load in cost.loads)
        used = cost.usage.operations
        self._messages_per_event = (used["publish"] or 0.0) / events if events else 1.0
        self._messages_per_delivery = (used["delivery"] or 0.0) / deliveries if deliveries else 1.0

    @classmethod
    def of(cls, scenario: Scenario, plan: Plan, prices: Prices, max_usd: float | None) -> "Budget | None":
        """Return the budget of a run; None: it has none."""
        return None if max_usd is None else cls(prices, max_usd, cost_of(scenario, plan, prices))

    def spent_usd(self, progress: Mapping[str, int], deliveries: int, connected_s: float) -> float:
        """Return what the operations so far cost; ``progress`` as `users.worker.Progress` and the probes."""
        counted: dict[str, float | None] = {
            "publish": progress["sent"] * self._messages_per_event,
            "delivery": deliveries * self._messages_per_delivery,
            "probe_publish": progress["probes"],
            "probe_delivery": progress["probe_deliveries"],
            "connect": progress["opened"],
            "subscribe": progress["requested"],
        }
        total: float | None = pricing.bill(counted, connected_s / 60, None, self._prices)["total"]
        return total or 0.0

    def exceeded(self, progress: Mapping[str, int], deliveries: int, connected_s: float) -> str | None:
        """Return a sentence once more has been spent than allowed."""
        spent_usd = self.spent_usd(progress, deliveries, connected_s)
        if spent_usd <= self._max_usd:
            return None
        return (
            f"stopped: the operations so far cost about {pricing.money(spent_usd)} on AWS, more than --max-cost"
            f" {pricing.money(self._max_usd)}"
        )
