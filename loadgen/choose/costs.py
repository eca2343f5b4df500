"""What a scenario costs on each service that is compared."""

from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

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
#: The offer of AWS IoT Core for each quality of service of an MQTT target; it has no QoS 2.
_QOS: Final = {"0": "qos0", "1": "qos1"}


def priced_as(protocol: str, url: str | None) -> tuple[str | None, str | None]:
    """Return the service whose prices hold for a target, with its offer, or None and why there is none.

    ``url`` is the target's; None is the embedded server.
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
    """Return the costs of a scenario at a service, one for each way to be billed.

    Raises:
        ScenarioError: a file of prices in ``own`` cannot be used.
    """
    load = load_of(run, month)
    return tuple(_cost(each.to_dict()) for each in costing.costings(load, service, own))


def _cost(found: dict[str, Any]) -> Cost:
    # An hour is a share of the month, and as sure.
    hour = {**found["hour"], "sure": found["month"]["sure"]}
    return msgspec.convert({**found, "hour": hour}, Cost)
