"""Group a slice of deliveries by event: find each event's latency at each rank, and deliveries that arrived twice.

Sorting the rows as a whole would take most of the time of a large report. Rows are grouped by event by counting
instead, and then only the few rows of each event are sorted.
"""

import numpy as np

from analysis.loading.lookup import grouping
from analysis.loading.run import Ints

#: Name of a rank → share of an event's subscribers that have received it at that rank.
RANKS = {"first_ns": 0.0, "median_ns": 0.5, "p99_ns": 0.99, "last_ns": 1.0}
#: Number of cells (4 bytes each) of the table that is used to find pairs of numbers that occur twice.
_CELLS = 1 << 22
#: Events with the same number of rows are sorted together if there are at most this many different numbers of rows.
_SIZES_MAX = 200
_NONE = np.empty(0, dtype=np.int64)


def ranks(event: Ints, latency_ns: Ints) -> tuple[Ints, Ints, dict[str, Ints]]:
    """Return the distinct events, the number of rows of each, and their latencies at each rank of `RANKS`.

    ``event`` holds the event's number for each row, from 0 on. Ranks are nearest ranks.
    """
    if not len(event):
        return _NONE, _NONE, dict.fromkeys(RANKS, _NONE)
    first = int(event.min())
    event = event - first
    of_each = np.bincount(event)
    reached = np.flatnonzero(of_each)
    counts = of_each[reached]
    lowest = int(latency_ns.min())
    span = int(latency_ns.max()) - lowest
    above = latency_ns - lowest
    if span < 2**31:
        # 32-bit numbers are sorted twice as fast as 64-bit numbers.
        above = above.astype(np.int32)
    above = above[grouping(event)]
    begins = np.cumsum(counts) - counts
    places = {
        name: np.maximum(np.ceil(share * counts - 1e-9).astype(np.int64), 1) - 1
        for name, share in RANKS.items()
    }
    found = {name: np.empty(len(reached), dtype=np.int64) for name in RANKS}
    sizes, kind = np.unique(counts, return_inverse=True)
    if len(sizes) > _SIZES_MAX:
        order = np.lexsort((above, np.repeat(np.arange(len(counts)), counts)))
        for name, place in places.items():
            found[name] = above[order[begins + place]] + lowest
        return reached + first, counts, found
    for number, size in enumerate(sizes.tolist()):
        its = np.flatnonzero(kind == number)
        alike = len(its) == len(reached)
        rows = above if alike else above[begins[its][:, None] + np.arange(size)]
        ordered = np.sort(rows.reshape(len(its), size), axis=1)
        for name, place in places.items():
            found[name][its] = ordered[:, place[its[0]]]
    for values in found.values():
        values += lowest
    return reached + first, counts, found


def distinct(one: Ints, other: Ints) -> bool:
    """Return True if all pairs of numbers (each from 0 on, below 2**31) are distinct; needs at least one pair.

    Each pair writes its row number into a cell of a hash table. A pair whose cell ends up with another row number
    either equals that row's pair or shares the cell by chance. Only these few pairs are compared and sorted.
    """
    key = (one - one.min()) * (int(other.max()) + 1) + other
    cell = key & (_CELLS - 1)
    row = np.arange(len(key), dtype=np.int32)
    table = np.empty(_CELLS, dtype=np.int32)
    table[cell] = row
    winner = table[cell]
    losers = np.flatnonzero(winner != row)
    if not len(losers):
        return True
    if (key[winner[losers]] == key[losers]).any():
        return False
    rest = np.sort(key[losers])
    return not bool((rest[1:] == rest[:-1]).any())
