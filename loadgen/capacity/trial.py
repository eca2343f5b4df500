"""Make one trial, a `loadgen run` in a separate folder, and read from its summary whether it meets the goals."""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from analysis.gates.grammar import Gate, parse
from analysis.gates.metrics import Kind
from analysis.loading.run import ReadError, ints, load
from analysis.record.folders import runs_in
from loadgen import subprocesses
from loadgen.capacity.axes import Scale
from loadgen.capacity.search import Status, Trial, Vote
from loadgen.config.units import format_duration
from loadgen.exits import ExitCode

#: Name of the file with the output of a trial's run.
LOG: Final = "run.log"
#: Subjects of the findings that say that the generator is too weak for the load.
OWN: Final = frozenset({"schedule", "queue", "loop", "cpu", "gc", "files", "ports"})
#: Subjects of findings about measurement errors. A run with such a finding still counts as a trial, because its gates
#: are decided by intervals that include these errors.
_BOUNDED: Final = frozenset({"arrival", "clock"})
#: If the goodput is below this share of the offered load, the target counts as saturated.
_SATURATED: Final = 0.97


@dataclass(frozen=True, slots=True)
class Runs:
    """Settings shared by all trials. `options` are those of `loadgen run`, without --set and --results."""

    scenario: str
    options: tuple[str, ...]
    overrides: tuple[str, ...]
    goals: tuple[Gate, ...]
    short_ns: int
    full_ns: int

    def arguments(self, scale: Scale, load_: float, full: bool) -> list[str]:
        """Return the arguments of `loadgen` for a trial, without --results."""
        items = [
            *self.overrides,
            *scale.overrides(load_),
            f"phases.measure={format_duration(self.full_ns if full else self.short_ns)}",
            # JSON is valid YAML.
            f"gates={json.dumps([goal.text for goal in self.goals])}",
        ]
        return ["run", self.scenario, *self.options, *(part for item in items for part in ("--set", item))]


def make(runs: Runs, scale: Scale, load_: float, full: bool, folder: Path) -> int:
    """Run a trial in a folder, write the trial's output to the folder's run.log, and return its exit code.

    Raises:
        KeyboardInterrupt: the user interrupted; the run has ended too and has kept its record.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = subprocesses.command(
        "loadgen", *runs.arguments(scale, load_, full), "--no-report", "--results", str(folder.resolve())
    )
    code, interrupted = subprocesses.logged(command, subprocesses.environment(), folder / LOG)
    if interrupted:
        raise KeyboardInterrupt
    return code


def shown(runs: Runs, scale: Scale, load_: float, full: bool) -> str:
    """Return the shell command that repeats a trial."""
    return shlex.join(["loadgen", *runs.arguments(scale, load_, full)])


def written(folder: Path) -> dict[str, Any]:
    """Return the content of a run folder's summary.json."""
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def read(
    folder: Path,
    runs: Runs,
    scale: Scale,
    load_: float,
    full: bool,
    code: int,
    summary_of: Callable[[Path], dict[str, Any]] = written,
) -> tuple[Trial, dict[str, Any]]:
    """Return the trial, with its vote on each goal, and the figures of the trial for capacity.json.

    A target that refuses or goes away fails every goal. An invalid run has no votes. A degraded run has votes unless
    its findings put the results of its gates in doubt (see `_doubt`). ``summary_of`` returns the summary of a run
    folder.
    """
    figures: dict[str, Any] = {"run": None, "verdict": None, "offered_deliveries_per_s": None}
    found = runs_in(folder, "summary.json")
    if not found:
        if code == ExitCode.TARGET:
            return Trial(load_, full, tuple(Vote(Status.FAILED) for _ in runs.goals)), figures
        return Trial(load_, full, (), f"the run ended with exit code {code}: {last_words(folder)}"), figures
    summary = summary_of(found[-1])
    ledger, seconds = summary["ledger"], summary["measured_seconds"]
    figures |= {"run": str(found[-1].relative_to(folder.parent.parent)), "verdict": summary["verdict"]}
    findings = summary["verdict"]["findings"]
    goodput = None
    if ledger is not None and seconds:
        headline = summary["delivery"]["headline_ns"]
        goodput = _arrived(found[-1]) / seconds
        figures |= {
            "offered_deliveries_per_s": ledger["expected"] / seconds,
            "goodput_per_s": goodput,
            "p50_ns": headline["p50"],
            "p99_ns": headline["p99"],
            "loss": ledger["lost"] / ledger["expected"] if ledger["expected"] else None,
            "gates": summary["gates"],
        }
    away = summary["exit_code"] == ExitCode.TARGET
    if away and not any(
        finding["severity"] == "invalid" and finding["subject"] in OWN for finding in findings
    ):
        return Trial(load_, full, tuple(Vote(Status.FAILED) for _ in runs.goals)), figures
    if (doubt := _doubt(runs.goals, summary)) is not None:
        return Trial(load_, full, (), doubt["reason"], doubt["subject"] in OWN), figures
    votes = tuple(
        vote(goal, result, scale, load_, figures["offered_deliveries_per_s"], goodput)
        for goal, result in zip(runs.goals, summary["gates"], strict=True)
    )
    return Trial(load_, full, votes), figures


def _doubt(goals: Sequence[Gate], summary: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return the finding because of which the search must ignore the trial's result, or None if the result counts.

    Gates are decided by intervals that contain the true figure, so a trial counts in spite of findings in `_BOUNDED`
    (measurement errors). It does not count if latencies are negative even at the upper end of their interval, since the
    intervals are then too narrow.

    If a latency begins at the intended time, a weak generator can only make it longer. So a trial that passes in spite
    of a weak generator counts. A finding about the generator makes the search ignore the trial in three cases:

    - A gate did not pass, which may be the generator's fault.
    - Events were never sent. They would have had the longest latencies.
    - A goal uses a latency that begins at the actual send. It was measured under another load than the intended one.
    """
    findings: Sequence[Mapping[str, str]] = summary["verdict"]["findings"]
    severe = [finding for finding in findings if finding["severity"] == "invalid"]
    if severe:
        # Prefer a finding that the generator was too weak, which explains the other findings.
        return next((finding for finding in severe if finding["subject"] in OWN), severe[0])
    other = [finding for finding in findings if finding["subject"] not in OWN | _BOUNDED]
    if other:
        return other[0]
    clock = [finding for finding in findings if finding["subject"] == "clock"]
    high = (summary["delivery"] or {}).get("headline_ns", {}).get("high")
    if clock and (not high or high["min"] < 0):
        return clock[0]
    own = [finding for finding in findings if finding["subject"] in OWN]
    if own:
        unsent = (summary["publish"] or {}).get("events_by_status", {}).get("unsent", 0)
        passed = all(result["status"] == Status.PASSED.value for result in summary["gates"])
        if unsent or not passed or not all(_from_schedule(goal) for goal in goals):
            return own[0]
    return None


def _from_schedule(goal: Gate) -> bool:
    """Return True if the goal's metric is measured from the scheduled time.

    A load generator that is behind its schedule can only make such a figure worse.
    """
    metric = goal.metric
    return not metric.distribution or metric.distribution.startswith(("delivery.latency", "fanout."))


def vote(
    goal: Gate,
    result: dict[str, Any],
    scale: Scale,
    load_: float,
    offered: float | None,
    goodput: float | None,
) -> Vote:
    """Return a trial's vote on a goal (passed, failed or inconclusive), from the result of the goal's gate.

    ``offered`` and ``goodput`` are in deliveries per second.
    """
    hint = None
    if scale.proportional and offered and goodput and goodput < _SATURATED * offered:
        hint = load_ * goodput / offered
        if goal.metric.kind is Kind.SHARE and goal.op in ("<", "<=") and goal.threshold < 1:
            # If the goal allows a loss share of p, the load may be as high as the target's capacity / (1 − p).
            hint /= 1 - goal.threshold
    return Vote(Status(result["status"]), result["value"], goal.threshold, hint)


def _arrived(folder: Path) -> int:
    """Return the number of deliveries that arrived in the measure phase."""
    run = load(folder)
    window = run.measure
    if window is None:
        raise ReadError(f"{folder} has no measurement")
    arrival_ns = ints(run.table("deliveries", ("arrival_ns",)), "arrival_ns")
    return int(((arrival_ns >= window.start_ns) & (arrival_ns < window.end_ns)).sum())


def last_words(folder: Path) -> str:
    """Return the last line that a trial's run has printed."""
    return subprocesses.last_words(folder / LOG) or "it said nothing"


def goals_of(texts: Sequence[str]) -> tuple[Gate, ...]:
    """Parse goals as gates.

    Raises:
        GateError: a goal is not a valid gate.
    """
    return tuple(parse(text) for text in texts)
