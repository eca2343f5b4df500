"""Gates that end a run early, evaluated during the run on the histograms that workers send every second.

They approximate the gates evaluated on the record: a histogram holds the deliveries that arrived in a second, not the
deliveries that were due in that second. A gate with `over` must hold in each window of the length given there. Only
seconds wholly inside a window count, so that each window is judged by its own deliveries only.
"""

from collections import deque
from collections.abc import Sequence

from hdrh.histogram import HdrHistogram

from analysis.gates.grammar import Gate
from loadgen.measure import histograms
from loadgen.resolve import ResolvedRun

_SECOND_NS = 1_000_000_000


class EarlyGates:
    """Evaluates the gates marked `abort_early` during the run, after each time window that a gate's `over` sets."""

    def __init__(self, gates: Sequence[Gate]) -> None:
        self._gates = [gate for gate in gates if gate.abort_early and gate.over_ns]
        self._seconds: deque[tuple[int, HdrHistogram, HdrHistogram]] = deque()
        self._start_ns: int | None = None
        self._done = [0] * len(self._gates)

    @classmethod
    def of(cls, run: ResolvedRun) -> "EarlyGates":
        """Return the gates of a run that may end it early."""
        return cls([written.gate() for written in run.gates])

    @property
    def watching(self) -> bool:
        """True if the run has a gate that can end it early."""
        return bool(self._gates)

    def begin(self, start_ns: int) -> None:
        """Begin each gate's first window at ``start_ns``, the start of the measurement."""
        self._start_ns = start_ns

    def observe(self, received_ns: int, histogram: HdrHistogram, shortest: str | None = None) -> None:
        """Add the latencies of a worker's last second.

        Some arrival times are uncertain. ``shortest`` is the encoded histogram of the shortest values that the
        latencies may have, or None if all arrival times are certain.
        """
        if self._gates and self._start_ns is not None:
            least = histogram if shortest is None else histograms.decoded(shortest)
            self._seconds.append((received_ns, histogram, least))

    def failure(self, at_ns: int) -> str | None:
        """Return a sentence on the first gate that failed in a window that has ended, or None if none has failed."""
        for number, gate in enumerate(self._gates):
            if (sentence := self._failure_of(number, gate, at_ns)) is not None:
                return sentence
        return None

    def _failure_of(self, number: int, gate: Gate, at_ns: int) -> str | None:
        assert gate.over_ns is not None
        if self._start_ns is None:
            return None
        while True:
            begin_ns = self._start_ns + self._done[number] * gate.over_ns
            end_ns = begin_ns + gate.over_ns
            if at_ns < end_ns:
                return None
            self._done[number] += 1
            # A histogram covers the second before it was received. So it lies inside the window only if it was received
            # at least a second after the window began.
            inside = [
                pair for received_ns, *pair in self._seconds if begin_ns + _SECOND_NS < received_ns <= end_ns
            ]
            self._forget()
            if not inside:
                continue
            merged, shortest = (histograms.merge(side) for side in zip(*inside, strict=True))
            value_ns = _value(merged, gate)
            # Fail only if the gate fails even with the shortest possible latencies.
            if merged.total_count and not gate.holds(value_ns) and not gate.holds(_value(shortest, gate)):
                edges = ((ns - self._start_ns) / _SECOND_NS for ns in (begin_ns, end_ns))
                begin_s, end_s = edges
                return (
                    f"gate {gate.text} did not hold from {begin_s:g} s to {end_s:g} s of the measurement"
                    f" ({gate.metric.statistic} about {value_ns / 1e6:.3g} ms)"
                )

    def _forget(self) -> None:
        """Drop the histograms that were received before the current window of every gate began."""
        assert self._start_ns is not None
        oldest_ns = min(
            self._start_ns + done * (gate.over_ns or 0)
            for done, gate in zip(self._done, self._gates, strict=True)
        )
        while self._seconds and self._seconds[0][0] <= oldest_ns:
            self._seconds.popleft()


def _value(histogram: HdrHistogram, gate: Gate) -> float:
    if gate.metric.percentile is not None:
        return float(histogram.get_value_at_percentile(gate.metric.percentile))
    return float(
        {
            "min": histogram.get_min_value,
            "max": histogram.get_max_value,
            "mean": histogram.get_mean_value,
        }[gate.metric.statistic]()
    )
