"""Run a capacity search: ask `search` for the next trial, run it and record it, until the limit is known."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.figures import usl
from analysis.gates.grammar import GateError
from loadgen.capacity import record, trial
from loadgen.capacity.axes import Axis, scale_of
from loadgen.capacity.search import Ask, Limit, SearchSettings, Trial, next_step, so_far
from loadgen.exits import ExitCode
from loadgen.protocol.appsync.limits import EVENT_MAX_BYTES
from loadgen.resolve.loading import load
from loadgen.scenario import ScenarioError, overrides_of

#: A search reaches by default from 1/100 of the scenario's own load to 100 times that load.
_REACH = 100.0


@dataclass(frozen=True)
class Request:
    """The parameters of a search, as plain values that capacity.json keeps."""

    scenario: str
    axis: str
    goals: tuple[str, ...]
    low: float | None
    high: float | None
    precision: float
    budget_ns: int | None
    short_ns: int | None
    full_ns: int | None
    options: tuple[str, ...]
    overrides: tuple[str, ...]
    variable: str | None = None
    predict: bool = True

    @property
    def target(self) -> str | None:
        """URL given with --target, or None for the scenario's own target or the embedded server."""
        options = self.options
        return options[options.index("--target") + 1] if "--target" in options else None


def prepare(request: Request) -> tuple[SearchSettings, trial.Runs, Any]:
    """Check a request, and return the settings of the search and of its trials, and the `Scale`.

    Raises:
        ScenarioError: the scenario, a goal, the axis or a bound is not valid.
    """
    said = overrides_of(request.overrides)
    scenario = load(request.scenario, said, target=request.target)
    scale = scale_of(scenario, Axis(request.axis), request.variable)
    try:
        goals = trial.goals_of(request.goals)
    except GateError as error:
        raise ScenarioError([f"--slo: {error}"]) from None
    full_ns = request.full_ns or scenario.phases.measure_ns
    short_ns = min(full_ns, request.short_ns or max(full_ns // 4, 2_000_000_000))
    low = request.low if request.low is not None else scale.base / _REACH
    high = request.high if request.high is not None else scale.base * _REACH
    if scale.axis is Axis.PAYLOAD:
        # An event must have room for its stamp, and must not exceed the service's size limit.
        low, high = max(low, request.low or scale.base), min(high, request.high or EVENT_MAX_BYTES)
    if scale.whole:
        low, high = max(1.0, float(round(low))), max(1.0, float(round(high)))
    if not 0 < low < high:
        raise ScenarioError([f"--from {low:g} is not below --to {high:g}"])
    # Start at --from if given, else at the scenario's own load.
    start = low if request.low is not None else min(scale.base, high)
    settings = SearchSettings(
        low,
        high,
        start,
        len(goals),
        request.precision,
        whole=scale.whole,
        predict=request.predict,
        short=short_ns < full_ns,
    )
    runs = trial.Runs(request.scenario, request.options, request.overrides, goals, short_ns, full_ns)
    for edge in (low, high):
        load(request.scenario, said | overrides_of(scale.overrides(edge)), target=request.target)
    return settings, runs, scale


class Search:
    """A search in a folder, new or resumed."""

    def __init__(self, request: Request, folder: Path, say: Callable[[str], None]) -> None:
        self.settings, self._runs, self._scale = prepare(request)
        self._request, self._folder, self._say = request, folder, say
        self.trials: list[Trial] = []
        self.rows: list[dict[str, Any]] = []
        self.limits: tuple[Limit, ...] = ()
        self.status = "running"

    def resume(self, content: dict[str, Any]) -> None:
        """Continue with the trials listed in a capacity.json, and read their results from their runs again."""
        for row in content["trials"]:
            found, figures = trial.read(
                self._folder / row["folder"],
                self._runs,
                self._scale,
                row["load"],
                row["full"],
                row["exit_code"],
            )
            self.trials.append(found)
            self.rows.append({**row, **figures, **outcome(found)})

    def go(self) -> ExitCode:
        """Make trials until the limit is known, the time is used up, a trial cannot run, or the user interrupts.

        Return the exit code of the search.
        """
        began_ns = time.monotonic_ns()
        self._keep()
        try:
            while isinstance(step := next_step(self.settings, self.trials), Ask):
                if self._request.budget_ns and time.monotonic_ns() - began_ns > self._request.budget_ns:
                    return self._end("budget", "the budget is spent", ExitCode.INCONCLUSIVE)
                self._make(step)
                if self.rows[-1]["exit_code"] == ExitCode.TARGET and len(self.rows) == 1:
                    return self._end(
                        "failed",
                        f"the target: {trial.last_words(self._folder / self.rows[0]['folder'])}",
                        ExitCode.TARGET,
                    )
                if self.rows[-1]["exit_code"] == ExitCode.USAGE:
                    return self._end("failed", self.trials[-1].doubt, ExitCode.USAGE)
        except KeyboardInterrupt:
            return self._end("interrupted", "interrupted", ExitCode.INTERRUPTED)
        self.limits, self.status = step, "complete"
        self._keep()
        found = {"found": ExitCode.PASSED, "above": ExitCode.PASSED, "below": ExitCode.GATE_FAILED}
        return found.get(step[-1].kind, ExitCode.INCONCLUSIVE)

    def _end(self, status: str, reason: str, code: ExitCode) -> ExitCode:
        self.status, self.limits = status, so_far(self.settings, self.trials, reason)
        self._keep()
        return code

    def _make(self, ask: Ask) -> None:
        # A killed search can leave a trial folder that is not in capacity.json: skip its number.
        number = len(self.trials) + 1
        while (folder := self._folder / "trials" / f"{number:03}").exists():
            number += 1
        length = "full" if ask.full else "short"
        self._say(f"trial {len(self.trials) + 1}: {ask.load:g}{self._scale.unit}, {length}, {ask.why}")
        code = trial.make(self._runs, self._scale, ask.load, ask.full, folder)
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt
        found, figures = trial.read(folder, self._runs, self._scale, ask.load, ask.full, code)
        self.trials.append(found)
        row = {
            "load": ask.load,
            "full": ask.full,
            "why": ask.why,
            "folder": str(folder.relative_to(self._folder)),
            "exit_code": code,
            "command": trial.shown(self._runs, self._scale, ask.load, ask.full),
            **figures,
            **outcome(found),
        }
        self.rows.append(row)
        self._say(f"  {row['doubt'] or ', '.join(row['votes'])}")
        self._keep()

    def _keep(self) -> None:
        record.write(
            self._folder,
            {
                "status": self.status,
                "request": asdict(self._request),
                "unit": self._scale.unit,
                "plan": asdict(self.settings),
                "short_ns": self._runs.short_ns,
                "full_ns": self._runs.full_ns,
                "trials": self.rows,
                "limits": named(self._request.goals, self.limits),
                "usl": law(self.rows, self._scale.proportional),
            },
        )


def named(goals: Sequence[str], limits: Sequence[Limit]) -> list[dict[str, Any]]:
    """Return the limits for capacity.json: one per goal and, for several goals, one of all together (`goal`: null)."""
    names = (*goals, None) if len(goals) > 1 else goals
    return [{"goal": name, **asdict(limit)} for name, limit in zip(names, limits, strict=False)]


def law(rows: Sequence[Mapping[str, Any]], proportional: bool) -> dict[str, Any] | None:
    """Fit the universal scalability law to the trials in capacity.json.

    Return None if ``proportional`` is false: the law then does not apply, as goodput is not proportional to the load.
    """
    if not proportional:
        return None
    known = [row for row in rows if not row["doubt"] and row.get("goodput_per_s")]
    return usl.fit([row["load"] for row in known], [row["goodput_per_s"] for row in known]).to_dict()


def outcome(found: Trial) -> dict[str, Any]:
    """Return a trial's vote (passed, failed, inconclusive) on each goal, in the form of capacity.json.

    `doubt` is the reason why a trial has no votes, else empty.
    """
    return {"votes": [vote.status.value for vote in found.votes], "doubt": found.doubt}
