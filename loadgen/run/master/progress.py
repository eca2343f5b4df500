"""The state of a run for the progress line and the live displays.

The coordinator takes the run through its phases (`loadgen.run.coordinator`).
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from hdrh.histogram import HdrHistogram

from loadgen.live.view import View
from loadgen.measure import histograms
from loadgen.resolve import Totals
from loadgen.run.master.workers import Workers
from loadgen.users.worker import Timeline

_SECOND_NS: Final = 1_000_000_000
#: The progress line shows the latencies of this many whole seconds and of the one that has begun.
_RECENT_S: Final = 5


@dataclass(frozen=True)
class Snapshot:
    """The run's state for the progress line."""

    phase: str
    elapsed_s: float
    left_s: float | None
    clients: int
    connected: int
    subscriptions: int
    ready: int
    sent: int
    accepted: int
    deliveries: int
    recent_p99_ns: int | None
    complaint: str | None


class ProgressView:
    """The state of one run as displays read it: the phase, the workers' counts, and the latencies of the last seconds.

    The coordinator sets the phase; everything else is computed when a display asks for it.
    """

    def __init__(self, expected: Totals, workers: Workers, begun_ns: int) -> None:
        self._expected = expected
        self._workers = workers
        self._begun_ns = begun_ns
        #: Pairs of a second and a histogram of all workers' latencies that arrived in it. The workers' histograms are
        #: merged as they arrive: merging a hundred of them for every progress line stopped the event loop for 19 ms.
        self._recent: deque[tuple[int, HdrHistogram]] = deque()
        self.phase = "starting"
        #: Planned end of the phase (ns), or None if it has none.
        self.phase_end_ns: int | None = None
        #: Times of the phases that follow once all subscriptions are ready, or None until then.
        self.timeline: Timeline | None = None

    def enter(self, phase: str, end_ns: int | None) -> None:
        """Set the phase to show, and its planned end or None."""
        self.phase, self.phase_end_ns = phase, end_ns

    def observe(self, at_ns: int, histogram: HdrHistogram) -> None:
        """Add the latency histogram of a worker's last second, which arrived at ``at_ns``."""
        second = at_ns // _SECOND_NS
        if not self._recent or self._recent[-1][0] != second:
            self._forget(at_ns)
            self._recent.append((second, histograms.new_histogram()))
        histograms.add(self._recent[-1][1], histogram)

    def snapshot(self, at_ns: int) -> Snapshot:
        """Return the state for the progress line."""
        total, complaints = self._workers.totals(), self._workers.complaints()
        self._forget(at_ns)
        recent = histograms.merge(histogram for _, histogram in self._recent) if self._recent else None
        return Snapshot(
            phase=self.phase,
            elapsed_s=self._elapsed_s(at_ns),
            left_s=self._left_s(at_ns),
            clients=self._expected.websockets,
            connected=total["connected"],
            subscriptions=self._expected.subscriptions,
            ready=total["ready"],
            sent=total["sent"],
            accepted=total["accepted"],
            deliveries=self._workers.deliveries,
            recent_p99_ns=histograms.values_at(recent, (99,))[0] if recent is not None else None,
            complaint=complaints[0][0] if complaints else None,
        )

    def _forget(self, at_ns: int) -> None:
        """Drop the seconds that are too old for the progress line."""
        while self._recent and self._recent[0][0] < at_ns // _SECOND_NS - _RECENT_S:
            self._recent.popleft()

    def view(self, at_ns: int) -> View:
        """Return the state for live displays."""
        states, timeline = self._workers.values(), self.timeline
        return View(
            phase=self.phase,
            elapsed_s=self._elapsed_s(at_ns),
            left_s=self._left_s(at_ns),
            websockets=self._expected.websockets,
            subscriptions=self._expected.subscriptions,
            totals=self._workers.totals(),
            complaints=tuple(self._workers.complaints()),
            workers={state.info.worker: state.info.hostname for state in states},
            gone=frozenset(state.info.worker for state in states if state.gone and state.finished is None),
            warmup_ns=None if timeline is None else timeline.warmup_ns,
            measure_ns=None if timeline is None else timeline.measure_ns,
        )

    def _elapsed_s(self, at_ns: int) -> float:
        return (at_ns - self._begun_ns) / 1e9

    def _left_s(self, at_ns: int) -> float | None:
        return None if self.phase_end_ns is None else max(0.0, (self.phase_end_ns - at_ns) / 1e9)
