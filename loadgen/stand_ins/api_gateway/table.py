"""The backend's table of connections and the channels that each has subscribed to."""

from collections.abc import Iterator


class Table:
    """Channels and patterns that end in `/*`, each with the connections that subscribed to it.

    The object stands for a database table with the channel as its key: a publish needs one query for its channel, and
    one for each pattern that may match the channel.
    """

    def __init__(self) -> None:
        #: Connections by channel or pattern, in the order in which they subscribed.
        self._connections: dict[str, dict[str, None]] = {}
        self._channels: dict[str, set[str]] = {}
        self.queries = 0

    def __len__(self) -> int:
        """Return the number of subscriptions."""
        return sum(map(len, self._connections.values()))

    @property
    def connections(self) -> int:
        """The number of connections with a subscription."""
        return len(self._channels)

    def add(self, connection: str, channel: str) -> None:
        """Subscribe a connection to a channel or pattern; does nothing if it is already subscribed."""
        self._connections.setdefault(channel, {})[connection] = None
        self._channels.setdefault(connection, set()).add(channel)

    def remove(self, connection: str, channel: str) -> bool:
        """End a subscription; return False if there was none."""
        found = self._connections.get(channel, {})
        if connection not in found:
            return False
        del found[connection]
        if not found:
            del self._connections[channel]
        self._channels[connection].discard(channel)
        if not self._channels[connection]:
            del self._channels[connection]
        return True

    def forget(self, connection: str) -> int:
        """End all subscriptions of a connection; return how many there were."""
        channels = list(self._channels.get(connection, ()))
        for channel in channels:
            self.remove(connection, channel)
        return len(channels)

    def find(self, channel: str) -> Iterator[tuple[str, list[str]]]:
        """Yield each channel or pattern that covers a channel, with its connections."""
        for key in keys_of(channel):
            self.queries += 1
            if found := self._connections.get(key):
                yield key, list(found)


def keys_of(channel: str) -> list[str]:
    """Return a channel and the patterns that cover it: `/a/b/c`, `/a/b/*` and `/a/*`."""
    segments = channel.split("/")
    return [channel, *("/".join(segments[:end]) + "/*" for end in range(len(segments) - 1, 1, -1))]
