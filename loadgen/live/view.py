"""The coordinator's view of a run, for live displays."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Longest wait for a worker's report, in ns. After it, live displays show the figures of this second as unknown.
SILENCE_NS: Final = 2_500_000_000


@dataclass(frozen=True)
class View:
    """The state of a run at one moment."""

    phase: str
    elapsed_s: float
    left_s: float | None
    websockets: int
    subscriptions: int
    #: The sums of the workers' counts. A count that no worker has reported yet is 0.
    totals: Counter[str]
    complaints: tuple[tuple[str, int], ...]
    #: Host names of all workers, by number.
    workers: Mapping[int, str]
    #: Numbers of the lost workers.
    gone: frozenset[int]
    #: Start of the warm-up and of the measure phase, on the master's clock, or None if not known yet.
    warmup_ns: int | None
    measure_ns: int | None
