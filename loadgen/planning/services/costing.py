"""Compute the cost of a load at a service, the uncertainty of this cost, and the quota that limits the load first.

`costings` is the interface for other commands: make a load with `loadgen.planning.services.scenario.load_of` (a
resolved scenario), `loadgen.planning.services.measured.load_of_counts` (counts of a run) or
`loadgen.planning.services.load.of_numbers`, and name a service.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from loadgen.planning.services import files
from loadgen.planning.services.bill import Bill, bill
from loadgen.planning.services.limits import Headroom, Use, headrooms, lifetime_s, tightest, uses
from loadgen.planning.services.load import Load
from loadgen.planning.services.models import Offer, Service
from loadgen.planning.services.span import Span


@dataclass(frozen=True)
class Costing:
    """The cost of a load under one offer of a service."""

    service: Service
    offer_name: str
    load: Load

    @property
    def label(self) -> str:
        """Name of the service, and of the offer if there are several."""
        return (
            self.service.service
            if len(self.service.offers) == 1
            else f"{self.service.service}:{self.offer_name}"
        )

    @property
    def offer(self) -> Offer:
        """The offer."""
        return self.service.offers[self.offer_name]

    @cached_property
    def month(self) -> Bill:
        """Bill of a month."""
        return bill(self.service, self.offer_name, self.load.used_in_month(lifetime_s(self.service)))

    @cached_property
    def run(self) -> Bill | None:
        """Bill of one run alone, or None if the load was given in numbers instead of as a scenario or a run.

        Lines for a whole month or day (`lasting`) are charged in full, however short the run.
        """
        return None if self.load.run is None else bill(self.service, self.offer_name, self.load.run)

    @property
    def hour_usd(self) -> Span:
        """Cost of an hour of use: the month's bill, with fees and tiers, divided by the hours of use in the month."""
        return self.month.usd().times(1 / self.load.month.hours)

    @cached_property
    def uses(self) -> list[Use]:
        """How much the load uses of each quota of the service, and of each limit of the offer's plan."""
        return uses(self.service, self.offer_name, self.load)

    @property
    def binds(self) -> Use | None:
        """The quota of which the load uses the largest share, or None if no quota of the service is known."""
        return tightest(self.uses)

    @cached_property
    def headrooms(self) -> list[Headroom]:
        """How far each number of the load, such as the rate, can grow alone until a quota limits it."""
        return headrooms(self.service, self.offer_name, self.load)

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on the offer and the service, the assumptions made, and the reasons why costs are ranges."""
        offered = () if self.offer.note is None else (self.offer.note,)
        return (*self.month.why, *offered, *self.service.notes)

    def to_dict(self) -> dict[str, Any]:
        """Return the costing for JSON. Amounts are {"min", "max"} in US dollars; null means unknown."""
        return {
            "service": self.service.service,
            "offer": self.offer_name,
            "title": f"{self.service.title}, {self.offer.title}",
            "region": self.service.region,
            "run": None if self.run is None else _bill(self.run),
            "hour": {"usd": amount(self.hour_usd)},
            "month": _bill(self.month),
            "quotas": [_use(use) for use in self.uses],
            "binds_first": None if self.binds is None else _use(self.binds),
            "headroom": {
                each.axis: {
                    "factor": each.factor,
                    "quota": None if each.use is None else each.use.name,
                }
                for each in self.headrooms
            },
            "notes": list(self.notes),
        }


def costings(load: Load, names: str = files.ALL, own: Sequence[Path] = ()) -> list[Costing]:
    """Return the costing of a load for each offer of the named services.

    ``names`` is a comma-separated list such as `aws-iot-core,ably:mau`, or `all`. Each file in ``own`` replaces the
    packaged service of the same name, or adds a new one.

    Raises:
        ScenarioError: a service is unknown, or a file cannot be read or is not valid.
    """
    return [Costing(service, offer, load) for service, offer in files.chosen(names, files.services(own))]


def amount(usd: Span) -> dict[str, float | None]:
    """Return an amount of money for JSON: `max` is null without a known upper bound, both are null if unknown."""
    return {
        "min": None if usd.low is None else float(usd.low),
        "max": None if usd.high is None else float(usd.high),
    }


def _bill(found: Bill) -> dict[str, Any]:
    return {
        "usd": amount(found.usd()),
        "usd_metered": amount(found.usd(lasting=False)),
        "usd_lasting": amount(found.usd(lasting=True)),
        "usd_service": amount(found.usd("service")),
        "usd_backend": amount(found.usd("backend")),
        "usd_data_out": amount(found.usd("data-out")),
        "certainty": found.certainty,
        "sure": found.sure,
        "unknown": list(found.unknown),
        "lines": [
            {
                "name": line.name,
                "title": line.title,
                "part": line.part,
                "count": amount(line.count),
                "usd": amount(line.usd),
                "lasting": line.lasting,
                "chosen": line.chosen,
                "certainty": line.certainty,
                "why": list(line.why),
            }
            for line in found.lines
        ],
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "name": use.name,
        "asked": None if use.asked is None else float(use.asked),
        "at_least": use.at_least,
        "min": None if use.least is None else float(use.least),
        "max": None if use.most is None else float(use.most),
        "share": None if use.share is None else float(use.share),
        "adjustable": use.adjustable,
        "certainty": use.certainty,
        "takes_s": None if use.takes_s is None else float(use.takes_s),
    }
