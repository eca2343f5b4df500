"""Look up and group numbers without sorting data that is already in order: sorting would dominate large reports."""

import numpy as np

from analysis.loading.run import Ints

#: Numbers below this are looked up in an array indexed by the number itself.
_TABLE_MAX = 50_000_000


class Places:
    """Finds the positions of numbers in a sorted list of distinct numbers; a number not in it has position -1."""

    def __init__(self, numbers: Ints) -> None:
        """Index ``numbers``, which must be sorted and distinct."""
        self._numbers = numbers
        self._table: Ints | None = None
        if len(numbers) and numbers[0] >= 0 and numbers[-1] < _TABLE_MAX:
            self._table = np.full(int(numbers[-1]) + 2, -1, dtype=np.int64)
            self._table[numbers] = np.arange(len(numbers))

    def __len__(self) -> int:
        """Return the length of the sorted list."""
        return len(self._numbers)

    def of(self, wanted: Ints) -> Ints:
        """Return the position of each wanted number in the list, or -1 if the number is not in it."""
        if not len(self._numbers):
            return np.full(len(wanted), -1, dtype=np.int64)
        if self._table is None:
            place = np.minimum(np.searchsorted(self._numbers, wanted), len(self._numbers) - 1)
            return np.where(self._numbers[place] == wanted, place, -1)
        last = len(self._table) - 1
        # The last entry of the table is -1: use it for all numbers outside the table.
        return self._table[np.where((wanted >= 0) & (wanted < last), wanted, last)]


class EventPlaces:
    """Finds the positions of events in a list of events sorted by key; an event not in the list has position -1.

    A key is ``publisher << 32 | sequence``.
    """

    def __init__(self, key: Ints) -> None:
        """Index sorted keys; of equal keys the first is found."""
        self._key = key
        publisher = key >> 32
        starts = np.flatnonzero(np.r_[True, publisher[1:] != publisher[:-1]]) if len(key) else key
        self._publishers = Places(publisher[starts])
        #: For each publisher: the position of its first event, minus that event's sequence.
        self._base = starts - (key[starts] & 0xFFFFFFFF)

    @property
    def publishers(self) -> int:
        """Number of publishers."""
        return len(self._publishers)

    def publisher_of(self, publisher: Ints) -> Ints:
        """Return the index of each publisher number in the sorted list of all publishers, or -1 if it is not there."""
        return self._publishers.of(publisher)

    def of(self, publisher: Ints, sequence: Ints) -> Ints:
        """Return the position of each event in the list, or -1 if the event is not in it."""
        if not len(self._key):
            return np.full(len(publisher), -1, dtype=np.int64)
        place = self._base[self._publishers.of(publisher)] + sequence
        np.clip(place, 0, len(self._key) - 1, out=place)
        wanted = (publisher << 32) | sequence
        other = np.flatnonzero(self._key[place] != wanted)
        if len(other):
            found = np.minimum(np.searchsorted(self._key, wanted[other]), len(self._key) - 1)
            place[other] = np.where(self._key[found] == wanted[other], found, -1)
        return place


def grouping(*keys: Ints) -> Ints:
    """Return the stable order that sorts rows by the keys, of which the first is the most significant.

    The keys must be small numbers from 0 on: numpy sorts 16 bits at a time by counting, several times as fast as by
    comparing.
    """
    order: Ints | None = None
    for key in reversed(keys):
        most = int(key.max()) if len(key) else 0
        for shift in range(0, max(1, most.bit_length()), 16):
            digit = ((key >> shift) & 0xFFFF).astype(np.uint16)
            step = np.argsort(digit if order is None else digit[order], kind="stable")
            order = step if order is None else order[step]
    return order if order is not None else np.empty(0, dtype=np.int64)
