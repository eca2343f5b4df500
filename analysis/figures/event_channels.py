"""Find the channel of each event, so that deliveries can be counted by channel."""

from bisect import bisect_right
from functools import lru_cache
from threading import Lock

import numpy as np

from analysis.ledger.events import channels_of, numbered
from analysis.loading.lookup import EventPlaces
from analysis.loading.run import Ints, Run, Window, ints
from analysis.loading.slices import stretches


class ChannelsOfEvents:
    """Finds the channel of each event of the measure phase; safe to use from several threads.

    It reads the events in stretches of time and keeps the last two stretches, which is enough because the slices of
    deliveries are read in order.
    """

    def __init__(self, run: Run, window: Window) -> None:
        self._run, self._cut = run, stretches(run, window)
        self._starts_ns = [stretch.start_ns for stretch in self._cut]
        self._lock = Lock()
        self._read = lru_cache(maxsize=2)(self._stretch)
        self._known = channels_of(run, window, self._cut)
        #: Name of the channel that each code stands for.
        self.channels = self._read(0)[2] if self._known is None else self._known

    @property
    def edges_ns(self) -> list[int]:
        """Intended times at which deliveries must be cut into slices: channels are read separately between them."""
        return self._starts_ns[1:]

    def of(self, window: Window, publisher: Ints, sequence: Ints) -> Ints:
        """Return the channel code of each event, or -1 if the event is not on record.

        The intended times of all events must be in ``window``.
        """
        number = max(bisect_right(self._starts_ns, window.start_ns) - 1, 0)
        with self._lock:
            places, channel, _ = self._read(number)
        return channel[places.of(publisher, sequence)]

    def _stretch(self, number: int) -> tuple[EventPlaces, Ints, list[str | None]]:
        table = self._run.table("events", ("publisher", "sequence", "channel"), self._cut[number])
        key = (ints(table, "publisher") << 32) | ints(table, "sequence")
        channel, names = numbered(table, self._known)
        if (key[1:] < key[:-1]).any():
            order = np.argsort(key, kind="stable")
            key, channel = key[order], channel[order]
        # EventPlaces returns -1 for events that are not on record. As an index, -1 finds the last entry, appended here.
        return EventPlaces(key), np.append(channel.astype(np.int32), np.int32(-1)), names
