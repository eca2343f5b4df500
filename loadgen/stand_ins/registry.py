"""The stand-ins by name of service; starting a stand-in imports its package."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from loadgen.stand_ins.settings import Settings

if TYPE_CHECKING:
    from aiohttp import web

Build = Callable[[Settings], "web.Application"]


class StandInError(ValueError):
    """A stand-in cannot be started; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """A stand-in server and its URLs, each as (scheme without TLS, path), such as `http` and `/event`."""

    title: str
    module: str
    """The module that has `build(settings)`."""
    http: tuple[str, str]
    """The URL for requests."""
    ws: tuple[str, str]
    """The URL for connections."""
    target: tuple[str, str]
    """The URL for `--target`."""

    def build(self) -> Build:
        """Import the stand-in and return its function `build`.

        Raises:
            StandInError: the package is missing or cannot be imported.
        """
        try:
            found: Build = import_module(self.module).build
        except (ImportError, AttributeError) as error:
            raise StandInError(
                f"the stand-in of {self.title} cannot be loaded ({error}): install the whole package again"
            ) from None
        return found


STAND_INS: Final = {
    "appsync-graphql": StandIn(
        "AWS AppSync GraphQL",
        "loadgen.stand_ins.appsync_graphql.app",
        ("http", "/graphql"),
        ("ws", "/graphql/realtime"),
        ("graphql+http", "/graphql"),
    ),
    "api-gateway": StandIn(
        "AWS API Gateway WebSocket APIs",
        "loadgen.stand_ins.api_gateway.app",
        ("http", "/production"),
        ("ws", "/production"),
        ("apigw+ws", "/production"),
    ),
}


def stand_in(name: str) -> StandIn:
    """Return the stand-in of a service.

    Raises:
        StandInError: there is no such service.
    """
    found = STAND_INS.get(name)
    if found is None:
        raise StandInError(f"--service {name[:50]!a} is not known: it may be {' or '.join(STAND_INS)}")
    return found
