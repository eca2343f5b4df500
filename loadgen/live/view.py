"""What the coordinator shows of a run to live displays."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: A worker that has not reported for so long makes its part of the second unknown.
SILENCE_NS: Final = 2_500_000_000


@dataclass(frozen=True)
class View:
    """What the coordinator knows at a moment."""

    phase: str
    elapsed_s: float
    left_s: float | None
    websockets: int
    subscriptions: int
    totals: Mapping[str, int]
    complaints: tuple[tuple[str, int], ...]
    #: Worker number → host, of all workers.
    workers: Mapping[int, str]
    #: Workers that were lost.
    gone: frozenset[int]
    #: Start of the warm-up and of the measure phase, on the master's clock; None: not yet known.
    warmup_ns: int | None
    measure_ns: int | None
