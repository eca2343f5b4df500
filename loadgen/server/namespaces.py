"""The channel namespaces of an API; the first segment of every channel names one, and it must exist (doc)."""

from collections.abc import Iterable
from dataclasses import dataclass

from loadgen.protocol.appsync.channels import ChannelError, namespace_of, validate_publish


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace; what it may override (authorization modes, handlers) belongs here."""

    name: str


class Namespaces:
    """The namespaces by name; names are case-sensitive (doc)."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_name = {name: Namespace(name) for name in names}

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
