"""Read service files: the packaged ones, and the user's own that replace or add to them."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from loadgen.config import document
from loadgen.config.part_file import read_part
from loadgen.config.problems import ScenarioError
from loadgen.config.text import nearest, shown
from loadgen.planning.prices import Prices, load_prices
from loadgen.planning.services import events
from loadgen.planning.services.models import Service

FOLDER: Final = Path(__file__).parent / "data"
#: The packaged services, in the order in which they are listed.
NAMES: Final = (
    "appsync-events",
    "appsync-graphql",
    "api-gateway",
    "aws-iot-core",
    "ably",
    "pusher",
    "pubnub",
    "momento",
    "azure-web-pubsub",
    "cloudflare-durable-objects",
    "supabase",
    "firebase",
)
#: The word by which a user names all services.
ALL: Final = "all"


def read_service(path: Path) -> Service:
    """Read a service file.

    Raises:
        ScenarioError: the file cannot be read or is not valid; the message has a line per problem.
    """
    return read_part(
        path, Service, "the service file", f"the one in {FOLDER / 'aws-iot-core.yaml'}", Service.problems
    )


def services(own: Sequence[Path] = ()) -> dict[str, Service]:
    """Return all services by name.

    Each file in ``own`` replaces the packaged service of the same name, or adds a new one.

    A file may also be a price file (see `loadgen.planning.prices`), which replaces the prices of AppSync Events.

    Raises:
        ScenarioError: a file cannot be read or is not valid, or two are for the same service.
    """
    found = {name: packaged(name) for name in NAMES}
    seen: dict[str, Path] = {}
    for path in own:
        service = read_service(path) if is_service_file(path) else _of_events(load_prices(path))
        if service.service in seen:
            raise ScenarioError(
                [f"{path}: is for {service.service}, as {seen[service.service]} is; give only one of them"]
            )
        seen[service.service] = path
        found[service.service] = service
    return found


@cache
def packaged(name: str) -> Service:
    """Return a packaged service; ``name`` is one of `NAMES`."""
    if name == "appsync-events":
        return _of_events(load_prices())
    return read_service(FOLDER / f"{name}.yaml")


def _of_events(prices: Prices) -> Service:
    return events.service_of(prices, read_service(FOLDER / "appsync-events.yaml"))


def is_service_file(path: Path) -> bool:
    """Return true if the file says `kind: service`; false for any other file, even an unreadable one."""
    try:
        data, _ = document.parse(document.read_text(path), str(path))
    except (OSError, UnicodeDecodeError, ScenarioError):
        return False
    return isinstance(data, dict) and ("kind" in data or "offers" in data)


def chosen(wanted: str, known: dict[str, Service]) -> list[tuple[Service, str]]:
    """Return the (service, offer) pairs that a list such as `all` or `api-gateway,ably:mau` names.

    Raises:
        ScenarioError: a service or offer is not known.
    """
    return list(
        {(service.service, offer): (service, offer) for service, offer in _chosen(wanted, known)}.values()
    )


def _chosen(wanted: str, known: dict[str, Service]) -> Iterator[tuple[Service, str]]:
    for word in (each.strip() for each in wanted.split(",")):
        name, colon, offer = word.partition(":")
        if name == ALL and not colon:
            for service in known.values():
                yield from ((service, each) for each in service.offers)
            continue
        if name not in known:
            names = [ALL, *known]
            raise ScenarioError([f"--services: there is no service {shown(name)}{nearest(name, names)}"])
        service = known[name]
        if colon and offer not in service.offers:
            raise ScenarioError(
                [f"--services: {name} has no offer {shown(offer)}{nearest(offer, service.offers)}"]
            )
        yield from ((service, each) for each in ([offer] if colon else service.offers))
