"""The channel namespaces of an API; the first segment of every channel names one, and it must exist (doc)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from loadgen.protocol.appsync.channels import ChannelError, namespace_of, validate_publish
from loadgen.server.handlers import OnPublish, OnSubscribe
from loadgen.server.modes import Mode


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace and what it overrides; None: as the API has it."""

    name: str
    publish_modes: Collection[Mode] | None = None
    subscribe_modes: Collection[Mode] | None = None
    on_publish: OnPublish | None = None
    on_subscribe: OnSubscribe | None = None


class Namespaces:
    """The namespaces by name; names are case-sensitive (doc)."""

    def __init__(self, namespaces: Iterable[Namespace]) -> None:
        self._by_name = {namespace.name: namespace for namespace in namespaces}

    def of(self, channel: str) -> Namespace | None:
        """Return the namespace of a channel, valid or not; None if there is none."""
        return self._by_name.get(namespace_of(channel))


def is_namespace_name(name: str) -> bool:
    """Return whether the text may name a namespace: one segment of a channel (doc)."""
    if "/" in name:
        return False
    try:
        validate_publish(name)
    except ChannelError:
        return False
    return True
