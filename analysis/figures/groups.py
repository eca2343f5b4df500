"""Compare the latencies of channels and of workers: the largest groups, and the rest as one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.loading.run import Ints
from analysis.loading.slices import SLICE_ROWS

#: Maximum number of groups shown separately, and number of points on each group's curve.
GROUPS_MAX = 8
SHARES = 400


@dataclass(frozen=True)
class Group:
    """Deliveries of one channel or worker (`code`), or of all that are not shown separately (`code` None)."""

    code: int | None
    #: Number of channels or workers in the group.
    members: int
    count: int
    #: Quantiles of the latency at evenly spaced shares, from the smallest to the largest sample.
    at_shares: Ints


def groups_of(latency_ns: npt.NDArray[Any], code: npt.NDArray[Any]) -> list[Group]:
    """Return the largest groups, and the rest as one group, or an empty list if there are fewer than two groups.

    Deliveries without a group (code -1) are left out.
    """
    # Work block by block to save memory: to count and index, numpy takes 8 bytes for each code, however small.
    blocks = [slice(begin, begin + SLICE_ROWS) for begin in range(0, len(code), SLICE_ROWS)]
    size = int(code.max()) + 2 if len(code) else 1
    counts = np.zeros(size, dtype=np.int64)
    for block in blocks:
        counts += np.bincount(code[block].astype(np.int64) + 1, minlength=size)[: size + 1]
    counts = counts[1:]
    present = [int(number) for number in np.argsort(-counts, kind="stable") if counts[number]]
    if len(present) < 2:
        return []
    found = [_group(number, 1, latency_ns[code == number]) for number in present[:GROUPS_MAX]]
    if rest := present[GROUPS_MAX:]:
        other = np.zeros(size, dtype=bool)
        other[rest] = True
        others = np.concatenate([latency_ns[block][other[code[block]]] for block in blocks])
        found.append(_group(None, len(rest), others))
    return found


def _group(code: int | None, members: int, samples: npt.NDArray[Any]) -> Group:
    samples.sort()
    places = np.minimum((np.linspace(0, 1, SHARES) * len(samples)).astype(np.int64), len(samples) - 1)
    return Group(code, members, len(samples), samples[places].astype(np.int64))
