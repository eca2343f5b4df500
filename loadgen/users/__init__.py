"""The Locust user classes.

`Subscriber`, `Publisher` and `Participant` play the clients of a scenario. Subclass them or `EventsUser`, which runs
tasks of your own, in your own locustfile; see docs/cookbook/users.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.users.journeys.errors import JourneyError, NoAnswerError, RefusedError
    from loadgen.users.journeys.pacing import schedule
    from loadgen.users.journeys.user import EventsUser
    from loadgen.users.roles import Participant, Publisher, Subscriber

__all__ = [
    "EventsUser",
    "JourneyError",
    "NoAnswerError",
    "Participant",
    "Publisher",
    "RefusedError",
    "Subscriber",
    "schedule",
]
_MODULES = {
    "EventsUser": "loadgen.users.journeys.user",
    "JourneyError": "loadgen.users.journeys.errors",
    "NoAnswerError": "loadgen.users.journeys.errors",
    "RefusedError": "loadgen.users.journeys.errors",
    "schedule": "loadgen.users.journeys.pacing",
}
#: The module that registers the harness with Locust. It is in a layer above this package, so it is imported by name,
#: and only when a locustfile imports `EventsUser`. Such a locustfile needs no other import from the harness.
_INSTALL = "loadgen.run.install"


def __getattr__(name: str) -> Any:
    # Import the name on first use. These classes import Locust, which patches the whole process for gevent; users of
    # this package's other modules do not need that.
    if name not in __all__:
        raise AttributeError(name)
    if name == "EventsUser":
        import_module(_INSTALL).install()
    return getattr(import_module(_MODULES.get(name, "loadgen.users.roles")), name)
