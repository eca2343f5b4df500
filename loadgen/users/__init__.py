"""The Locust user classes: subscribers, publishers, and participants, which are both.

Subclass them in your own locustfile; see docs/cookbook/users.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.users.roles import Participant, Publisher, Subscriber

__all__ = ["Participant", "Publisher", "Subscriber"]


def __getattr__(name: str) -> Any:
    # Imported on first use: importing Locust patches the whole process for gevent, and this package's other modules
    # do not need that.
    if name in __all__:
        from loadgen.users import roles

        return getattr(roles, name)
    raise AttributeError(name)
