"""Compute the costs of a scenario at each compared service."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from analysis.choose.record import Cost
from loadgen.planning.services import costing
from loadgen.planning.services.load import Month
from loadgen.planning.services.scenario import load_of
from loadgen.resolve import ResolvedRun

#: The service whose prices apply, by protocol.
_PRICED_AS: Final = {
    "appsync-events": "appsync-events",
    "appsync-graphql": "appsync-graphql",
    "api-gateway": "api-gateway",
    "mqtt": "aws-iot-core",
}
#: The offer (billing option) of AWS IoT Core for each quality of service of an MQTT target; AWS IoT Core has no QoS 2.
_QOS: Final = {"0": "qos0", "1": "qos1"}


def priced_as(protocol: str, url: str | None) -> tuple[str | None, str | None]:
    """Return (service, None) with the service whose prices apply to a target, or (None, reason) if there is no price.

    The service's name may end with a colon and one of its offers (billing options), as in `aws-iot-core:qos1`. ``url``
    is the target's URL, or None for the embedded server.
    """
    service = _PRICED_AS.get(protocol)
    if service is None:
        return None, "no service bills for it: whoever runs the server pays for the machines"
    if protocol == "mqtt":
        quality = parse_qs(urlsplit(url or "").query).get("qos", ["1"])[-1]
        if quality not in _QOS:
            return None, f"AWS IoT Core has no QoS {quality}, and other brokers have no price here"
        service += f":{_QOS[quality]}"
    return service, None


def costs(service: str, run: ResolvedRun, month: Month, own: tuple[Path, ...] = ()) -> tuple[Cost, ...]:
    """Return the costs of a scenario at a service, one for each billing option of the service.

    Raises:
        ScenarioError: a file of prices in ``own`` cannot be used.
    """
    load = load_of(run, month)
    return tuple(_cost(each.to_dict()) for each in costing.costings(load, service, own))


def _cost(found: dict[str, Any]) -> Cost:
    # `sure` tells if a cost is certain. An hour's cost is computed from the month's, so it is as certain.
    hour = {**found["hour"], "sure": found["month"]["sure"]}
    return msgspec.convert({**found, "hour": hour}, Cost)
