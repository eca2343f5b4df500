"""Finding and grouping by number, without sorting what is already in order: most of the time of a large report."""

import numpy as np

from analysis.loading.run import Ints

#: Numbers up to here are looked up in a table of their own size.
_TABLE_MAX = 50_000_000


class Places:
    """Where each of some numbers stands in a sorted list of distinct ones; -1: nowhere."""

    def __init__(self, numbers: Ints) -> None:
        """Take the numbers, sorted and distinct."""
        self._numbers = numbers
        self._table: Ints | None = None
        if len(numbers) and numbers[0] >= 0 and numbers[-1] < _TABLE_MAX:
            self._table = np.full(int(numbers[-1]) + 2, -1, dtype=np.int64)
            self._table[numbers] = np.arange(len(numbers))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    def of(self, wanted: Ints) -> Ints:
        """Return the place of each."""
        if not len(self._numbers):
            return np.full(len(wanted), -1, dtype=np.int64)
        if self._table is None:
            place = np.minimum(np.searchsorted(self._numbers, wanted), len(self._numbers) - 1)
            return np.where(self._numbers[place] == wanted, place, -1)
        last = len(self._table) - 1
        # The last entry is of nobody.
        return self._table[np.where((wanted >= 0) & (wanted < last), wanted, last)]


class EventPlaces:
    """Where an event stands in a list sorted by key, which is ``publisher << 32 | sequence``; -1: nowhere."""

    def __init__(self, key: Ints) -> None:
        """Take the keys, sorted; of equal ones the first is found."""
        self._key = key
        publisher = key >> 32
        starts = np.flatnonzero(np.r_[True, publisher[1:] != publisher[:-1]]) if len(key) else key
        self._publishers = Places(publisher[starts])
        # Sequences mostly have no gaps: then a place is told by a sum.
        self._base = starts - (key[starts] & 0xFFFFFFFF)

    @property
    def publishers(self) -> int:
        """How many publishers there are."""
        return len(self._publishers)

    def publisher_of(self, publisher: Ints) -> Ints:
        """Return the place of each among the publishers; -1: nowhere."""
        return self._publishers.of(publisher)

    def of(self, publisher: Ints, sequence: Ints) -> Ints:
        """Return the place of each event."""
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
    """Return the order that sorts by the keys, the first above all; rows of equal keys stay as they were.

    The keys are small numbers from 0 on: numpy sorts 16 bits at a time by counting, several times as fast
    as by comparing.
    """
    order: Ints | None = None
    for key in reversed(keys):
        most = int(key.max()) if len(key) else 0
        for shift in range(0, max(1, most.bit_length()), 16):
            digit = ((key >> shift) & 0xFFFF).astype(np.uint16)
            step = np.argsort(digit if order is None else digit[order], kind="stable")
            order = step if order is None else order[step]
    return order if order is not None else np.empty(0, dtype=np.int64)
