"""The packet ids of one connection, by which the broker's acknowledgements name our packets."""

from collections.abc import Container
from typing import Final

LAST_PACKET_ID: Final = 65_535


class PacketIds:
    """Numbers packets from 1 to 65,535 and then again from 1 (MQTT 5, 2.2.1), without the ids that are in use."""

    __slots__ = ("_in_use", "_last")

    def __init__(self, last: int = 0) -> None:
        """Begin the numbering with the id after ``last``."""
        self._last = last
        self._in_use: list[Container[int]] = []

    def skip(self, in_use: Container[int]) -> None:
        """Skip, in each later call of :meth:`next`, the ids that ``in_use`` then contains."""
        self._in_use.append(in_use)

    def next(self) -> int:
        """Return the next packet id that is not in use, or an id that is in use if all are."""
        for _ in range(LAST_PACKET_ID):
            self._last = packet_id = self._last % LAST_PACKET_ID + 1
            for in_use in self._in_use:
                if packet_id in in_use:
                    break
            else:
                break
        return self._last
