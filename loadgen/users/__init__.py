"""The Locust users: subscribers, publishers, and participants that are both.

Subclass them in a locustfile of your own; see docs/cookbook/users.md.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loadgen.users.roles import Participant, Publisher, Subscriber

__all__ = ["Participant", "Publisher", "Subscriber"]


def __getattr__(name: str) -> Any:
    # Not before it is asked for: Locust patches the whole process for gevent when it is imported, which the other
    # modules of this package do without.
    if name in __all__:
        from loadgen.users import roles

        return getattr(roles, name)
    raise AttributeError(name)
