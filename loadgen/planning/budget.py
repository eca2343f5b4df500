"""Stop a run once it has cost more than `--max-cost`; `guard` checks the estimate before it starts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from analysis import pricing
from loadgen.resolve import ResolvedRun

if TYPE_CHECKING:
    from loadgen.planning.prices import Prices


class Budget(Struct, frozen=True):
    """Cost limit of a run, checked against the counts that the workers report.

    The counts contain no sizes. So each event counts as a mean number of billed messages, computed from the scenario's
    payload sizes. The cost in the report is computed from the record, which holds the size of each event.
    """

    prices: dict[str, Any]
    """Prices in the form of `loadgen.planning.prices.Prices.snapshot`."""
    max_usd: Annotated[float, Meta(ge=0)]
    messages_per_event: float
    messages_per_delivery: float

    @classmethod
    def of(cls, run: ResolvedRun, prices: "Prices", max_usd: float | None) -> "Budget | None":
        """Return the cost limit of a run, or None if ``max_usd`` is None."""
        if max_usd is None:
            return None
        # Imported here, because a process that only checks the cost during the run does not need the estimate.
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
        """Return the cost of the run's operations so far, in US dollars.

        ``progress`` holds the workers' counts as in their STATUS messages, ``connected_s`` the connection time of all
        clients together.
        """
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
        """Return the reason to stop the run if it has cost more than allowed, else None."""
        spent_usd = self.spent_usd(progress, deliveries, connected_s)
        if spent_usd <= self.max_usd:
            return None
        return (
            f"stopped: the operations so far cost about {pricing.money(spent_usd)} on AWS, more than --max-cost"
            f" {pricing.money(self.max_usd)}"
        )
