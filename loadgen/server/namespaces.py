"""The channel namespaces of an API. The first segment of every channel must name one of them (AWS docs)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from loadgen.protocol.appsync.channels import ChannelError, namespace_of, validate_publish
from loadgen.server.handlers import OnPublish, OnSubscribe
from loadgen.server.modes import Mode


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace of an API, with optional handlers.

    If the authorization modes for publish or subscribe are None, those of the API apply.
    """

    name: str
    publish_modes: Collection[Mode] | None = None
    subscribe_modes: Collection[Mode] | None = None
    on_publish: OnPublish | None = None
    on_subscribe: OnSubscribe | None = None


class Namespaces:
    """The namespaces of an API, by name; names are case-sensitive (AWS docs)."""

    def __init__(self, namespaces: Iterable[Namespace]) -> None:
        self._by_name = {namespace.name: namespace for namespace in namespaces}

    def of(self, channel: str) -> Namespace | None:
        """Return the namespace of a channel, or None if it is unknown; the channel need not be valid."""
        return self._by_name.get(namespace_of(channel))


def is_namespace_name(name: str) -> bool:
    """Return True if the text is a valid name of a namespace, which is one segment of a channel (AWS docs)."""
    if "/" in name:
        return False
    try:
        validate_publish(name)
    except ChannelError:
        return False
    return True
