"""Keeping a run from costing more than was meant, while it goes on."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from analysis import pricing
from loadgen.resolve import ResolvedRun

if TYPE_CHECKING:
    from loadgen.planning.prices import Prices


class Budget(Struct, frozen=True):
    """Watches what a run has used so far, by the workers' counts.

    Events count as many messages as the scenario's payload sizes say on average; the record, which knows each event's
    size, has the last word.
    """

    prices: dict[str, Any]
    """As `loadgen.planning.prices.Prices.snapshot`."""
    max_usd: Annotated[float, Meta(ge=0)]
    messages_per_event: float
    messages_per_delivery: float

    @classmethod
    def of(cls, run: ResolvedRun, prices: "Prices", max_usd: float | None) -> "Budget | None":
        """Return the budget of a run; None: it has none."""
        if max_usd is None:
            return None
        # Here: the process that only watches a budget needs no estimate.
        from loadgen.planning.estimate import cost_of

        cost = cost_of(run, prices)
        events = sum(load.events for load in cost.loads)
        deliveries = sum(load.deliveries or 0.0 for load in cost.loads)
        used = cost.usage.operations
        return cls(
            prices.snapshot(),
            max_usd,
            (used["publish"] or 0.0) / events if events else 1.0,
            (used["delivery"] or 0.0) / deliveries if deliveries else 1.0,
        )

    def spent_usd(self, progress: Mapping[str, int], deliveries: int, connected_s: float) -> float:
        """Return what the operations so far cost; ``progress`` is as in a worker's STATUS."""
        counted: dict[str, float | None] = {
            "publish": progress["sent"] * self.messages_per_event,
            "delivery": deliveries * self.messages_per_delivery,
            "probe_publish": progress["probes"] + progress.get("echoes", 0),
            "probe_delivery": progress["probe_deliveries"] + progress.get("echo_deliveries", 0),
            "connect": progress["opened"],
            "subscribe": progress["requested"],
        }
        total: float | None = pricing.bill(counted, connected_s / 60, None, self.prices)["total"]
        return total or 0.0

    def exceeded(self, progress: Mapping[str, int], deliveries: int, connected_s: float) -> str | None:
        """Return a sentence once more has been spent than allowed."""
        spent_usd = self.spent_usd(progress, deliveries, connected_s)
        if spent_usd <= self.max_usd:
            return None
        return (
            f"stopped: the operations so far cost about {pricing.money(spent_usd)} on AWS, more than --max-cost"
            f" {pricing.money(self.max_usd)}"
        )
