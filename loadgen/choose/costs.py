"""What a scenario costs on each service that is compared."""

from pathlib import Path
from typing import Final

import msgspec

from analysis.choose.record import Cost
from loadgen.planning.services import costing
from loadgen.planning.services.load import Month
from loadgen.planning.services.scenario import load_of
from loadgen.resolve import ResolvedRun

#: The service whose prices hold for a protocol.
_PRICED_AS: Final = {
    "appsync-events": "appsync-events",
    "appsync-graphql": "appsync-graphql",
    "api-gateway": "api-gateway",
    "mqtt": "aws-iot-core",
}


def priced_as(protocol: str) -> str | None:
    """Return the service whose prices are shown for a protocol, or None if there are none."""
    return _PRICED_AS.get(protocol)


def costs(protocol: str, run: ResolvedRun, month: Month, own: tuple[Path, ...] = ()) -> tuple[Cost, ...]:
    """Return the costs of a scenario, one for each way to be billed.

    Raises:
        ScenarioError: a file of prices in ``own`` cannot be used.
    """
    name = priced_as(protocol)
    if name is None:
        return ()
    loads = load_of(run, month)
    return tuple(msgspec.convert(each.to_dict(), Cost) for each in costing.costings(loads, name, own))
