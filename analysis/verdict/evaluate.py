"""Decide gates: passed, failed, or inconclusive if the measurement is not exact enough to tell.

A gate is decided on the figure and on the interval in which the true figure lies (see `gate_figures`). It passes if the
whole interval meets the condition, fails if none of it does, and is inconclusive otherwise.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.gates.grammar import Gate, duration_ns, parse
from analysis.loading.run import Run, Window
from analysis.verdict.gate_figures import GateFigures

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
_RANK = {PASSED: 0, INCONCLUSIVE: 1, FAILED: 2}


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a gate. Values are in the metric's unit (ns, fraction, count, per second), or None if unknown."""

    gate: str
    metric: str
    kind: str
    op: str
    threshold: float
    status: str
    value: float | None
    low: float | None
    high: float | None
    #: Distance of the value from the threshold as a share of the threshold, positive if the value is better than the
    #: threshold. None if the share is undefined.
    margin: float | None
    reason: str
    #: The window that decided the result, in seconds into the measurement, or None for the whole measurement.
    window_s: tuple[float, float] | None = None
    windows: int | None = None
    windows_failed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


def gates_of(manifest: Mapping[str, Any]) -> list[Gate]:
    """Return the gates of the scenario in a manifest."""
    gates = []
    for written in manifest["scenario"].get("gates", ()):
        if isinstance(written, str):
            gates.append(parse(written))
            continue
        over = written.get("over")
        over_ns = None if over is None else duration_ns(over, "the window")
        gates.append(parse(written["check"]).with_options(over_ns, bool(written.get("abort_early", False))))
    return gates


def evaluate(run: Run, summary: Mapping[str, Any], gates: list[Gate]) -> list[Result]:
    """Decide each gate of a run from its tables."""
    window = run.measure
    if window is None or summary["ledger"] is None:
        return [_undecided(gate, "nothing was measured") for gate in gates]
    verdict = summary["verdict"]
    if verdict["kind"] == "invalid":
        why = verdict["findings"][0]["reason"]
        return [_undecided(gate, f"the run is invalid: {why}") for gate in gates]
    figures = GateFigures(run, window, summary)
    return [_decide(gate, figures, window) for gate in gates]


def worst(results: list[Result]) -> str:
    """Return the gravest status, or `passed` if there are no gates."""
    return max((result.status for result in results), key=_RANK.__getitem__, default=PASSED)


def _decide(gate: Gate, figures: GateFigures, whole: Window) -> Result:
    if gate.over_ns is None:
        return _decide_in(gate, figures, whole, None)
    windows = list(_windows(whole, gate.over_ns))
    if not windows:
        return _undecided(gate, "the measurement is shorter than the gate's window")
    results = [_decide_in(gate, figures, window, whole) for window in windows]
    # Among equally grave windows, show the one with the smallest margin.
    gravest = max(
        results,
        key=lambda result: (
            _RANK[result.status],
            -(result.margin if result.margin is not None else math.inf),
        ),
    )
    failed = sum(result.status == FAILED for result in results)
    return replace(gravest, windows=len(results), windows_failed=failed)


def _windows(whole: Window, length_ns: int) -> Iterator[Window]:
    """Yield windows of ``length_ns`` from the start on; the last one also takes the remainder."""
    count = (whole.end_ns - whole.start_ns) // length_ns
    for number in range(count):
        start_ns = whole.start_ns + number * length_ns
        yield Window(start_ns, whole.end_ns if number == count - 1 else start_ns + length_ns)


def _decide_in(gate: Gate, figures: GateFigures, window: Window, whole: Window | None) -> Result:
    value, low, high, doubt = figures.value(gate, window)
    place = None
    if whole is not None:
        place = ((window.start_ns - whole.start_ns) / 1e9, (window.end_ns - whole.start_ns) / 1e9)
    if value is None or low is None or high is None:
        return replace(_undecided(gate, doubt), window_s=place)
    held = {gate.holds(bound) for bound in (low, value, high)}
    status = PASSED if held == {True} else FAILED if held == {False} else INCONCLUSIVE
    if status == FAILED:
        doubt = ""
    elif doubt:
        status = INCONCLUSIVE
    if not doubt and status == INCONCLUSIVE:
        doubt = "the threshold lies within the measurement's uncertainty"
    return replace(
        _undecided(gate, doubt),
        status=status,
        value=value,
        low=low,
        high=high,
        margin=_margin(gate, value),
        window_s=place,
    )


def _margin(gate: Gate, value: float) -> float | None:
    if gate.threshold == 0 or gate.op in ("==", "!="):
        return None
    better = gate.threshold - value if gate.op in ("<", "<=") else value - gate.threshold
    return better / gate.threshold


def _undecided(gate: Gate, reason: str) -> Result:
    return Result(
        gate.text,
        gate.metric.name,
        gate.metric.kind.name.lower(),
        gate.op,
        gate.threshold,
        INCONCLUSIVE,
        None,
        None,
        None,
        None,
        reason,
    )
