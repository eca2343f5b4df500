"""Check a capacity search against its trials' runs: every figure and vote (passed or failed), the limits, and the fit.

Each run's summary is recomputed from its tables, and its load must be the one that capacity.json names. The search is
then replayed with these votes, step by step, without running anything.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from analysis import text
from analysis.gates.grammar import GateError
from analysis.loading.parquet import damaged
from analysis.loading.run import ReadError, Run
from analysis.loading.run import load as load_run
from analysis.record.folders import runs_in
from analysis.record.revisions import CAPACITY, Maker
from analysis.report import capacity as report
from analysis.verify import check, compared
from analysis.verify.check import Reckoned
from analysis.verify.compared import DamagedError, Verification
from loadgen.capacity import conduct, record, trial
from loadgen.capacity.axes import Axis, Scale, scale_of
from loadgen.capacity.conduct import Request
from loadgen.capacity.record import NAME, RecordError
from loadgen.capacity.search import Ask, Limit, SearchSettings, Status, Trial, Vote, next_step, so_far
from loadgen.resolve.loading import from_resolved
from loadgen.scenario import ScenarioError

#: Largest relative difference allowed between a parameter of the fit in capacity.json and the recomputed one: a fit is
#: iterative, so another machine may round differently.
_FIT_TOLERANCE: Final = 1e-6
#: Largest relative difference allowed between a run's load and the load in capacity.json. They differ slightly, since
#: each client group's share of a load is rounded.
_LOAD_TOLERANCE: Final = 5e-4
_REASONS: Final = {"budget": "the budget is spent", "interrupted": "interrupted"}


@dataclass(frozen=True)
class Row:
    """The fields of a trial in capacity.json that the check trusts; it recomputes and compares all others."""

    load: float
    full: bool
    folder: str
    exit_code: int


@dataclass(frozen=True)
class Content:
    """The part of capacity.json that the check of a search needs."""

    status: Literal["running", "complete", "budget", "interrupted", "failed"]
    request: Request
    settings: Annotated[SearchSettings, Field(alias="plan")]
    unit: str
    short_ns: int
    full_ns: int
    trials: list[Row]


@cache
def _reader() -> TypeAdapter[Content]:
    """Return the reader of capacity.json. It is cached, since making it takes longer than using it."""
    return TypeAdapter(Content)


def verify(folder: Path) -> Verification:
    """Recompute a search from its trials' runs, and compare it with capacity.json and capacity.html.

    Raises:
        RecordError: capacity.json cannot be read or lacks needed fields.
        ReadError: the record of a trial's run is damaged.
    """
    written = record.read(folder)
    try:
        content = _reader().validate_python(written)
        runs = trial.Runs(
            content.request.scenario,
            content.request.options,
            content.request.overrides,
            trial.goals_of(content.request.goals),
            content.short_ns,
            content.full_ns,
        )
        Axis(content.request.axis)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecordError(
            f"{folder / NAME} is damaged: {text.clean(place)}: {text.clean(first['msg'])}"
        ) from None
    except (GateError, ValueError) as error:
        raise RecordError(f"{folder / NAME} is damaged: {text.clean(error)}") from None
    found = Verification(remedy=f"`loadgen capacity --resume {text.clean(folder)}`")
    maker = check.maker_of(NAME, written, found)
    try:
        _Check(folder, written, content, runs, maker, found).go()
    except (ReadError, RecordError):
        raise
    except Exception as error:
        # The file may come from elsewhere, so its content can be wrong in any way.
        raise RecordError(
            f"{folder / NAME} is damaged: nothing can be computed from it"
            f" ({type(error).__name__}: {text.clean(error)})"
        ) from error
    return found


class _Check:
    def __init__(
        self,
        folder: Path,
        written: dict[str, Any],
        content: Content,
        runs: trial.Runs,
        maker: Maker,
        found: Verification,
    ) -> None:
        self._folder, self._written, self._content = folder, written, content
        self._runs, self._maker, self._found = runs, maker, found
        self._axis = Axis(content.request.axis)
        #: The scale of the search's axis. It makes no overrides of the scenario, since a check runs no new trials.
        self._scale = Scale(self._axis, 0.0, content.unit, lambda _: [])
        self._asked: Scale | None = None
        self._missing: list[str] = []
        self._runs_absent = 0

    def go(self) -> None:
        """Compare all parts of the search."""
        self._compare_part("plan", asdict(self._settings))
        try:
            _, _, self._asked = conduct.prepare(self._content.request)
        except ScenarioError as error:
            why = text.clean(error.problems[0] if error.problems else error)
            self._found.notes.append(f"the commands of the trials are not compared: {why}")
        trials: list[Trial] = []
        rows: list[dict[str, Any]] = []
        for number, row in enumerate(self._content.trials):
            there = self._written["trials"][number]
            seen = self._trial(number, row, there)
            here, which = seen or (there, _believed(there, row, self._runs, self._scale))
            here = {**here, **self._step(number, trials, here)}
            self._compare(here, there, f"trials.{number}")
            trials.append(which)
            rows.append(here)
        self._compare_part("limits", self._limits(trials))
        self._compare_part("usl", conduct.law(rows, self._scale.proportional), _FIT_TOLERANCE)
        self._second_opinion(rows)
        self._page()
        if self._missing:
            gone = compared.listed(self._missing)
            self._found.notes.append(
                f"runs are not there, and what {NAME} says of these trials is believed: {gone}"
            )
            self._found.absent += [f"run of {place}" for place in self._missing]
        if self._runs_absent:
            self._found.notes.append(
                f"{self._runs_absent:,} figures are not in the trials' own summaries, which an older version made"
            )

    def _compare_part(self, name: str, here: Any, tolerance: float = 0.0) -> None:
        written = {name: self._written[name]} if name in self._written else {}
        self._compare({name: here}, written, "", tolerance)

    def _compare(self, here: Any, there: Any, at: str, tolerance: float = 0.0) -> None:
        compared.figures(
            NAME,
            json.loads(json.dumps(here)),
            there,
            self._maker,
            self._found,
            file=CAPACITY,
            at=at,
            tolerance=tolerance,
        )

    @cached_property
    def _settings(self) -> SearchSettings:
        """The search's recorded settings, with all fields that its request determines recomputed from the request."""
        content, request = self._content, self._content.request
        settings = replace(
            content.settings,
            whole=self._scale.whole,
            goals=len(request.goals),
            precision=request.precision,
            predict=request.predict,
            short=content.short_ns < content.full_ns,
        )
        if self._axis is Axis.PAYLOAD:
            return settings
        low, high = (
            max(1.0, float(round(bound))) if bound is not None and settings.whole else bound
            for bound in (request.low, request.high)
        )
        return replace(
            settings, low=settings.low if low is None else low, high=settings.high if high is None else high
        )

    def _trial(self, number: int, row: Row, there: Mapping[str, Any]) -> tuple[dict[str, Any], Trial] | None:
        """Return a trial recomputed from its run, or None if the run's folder is gone."""
        folder = self._folder / row.folder
        if Path(row.folder).is_absolute() or ".." in Path(row.folder).parts:
            raise RecordError(f"{self._folder / NAME} is damaged: trial {number + 1} is not in its folder")
        if not folder.exists() or (there.get("run") and not runs_in(folder)):
            self._missing.append(row.folder)
            return None
        summaries: dict[Path, dict[str, Any]] = {}

        def summary_of(path: Path) -> dict[str, Any]:
            run = load_run(path)
            reckoned = _reckoned(run)
            summaries[path] = reckoned.summary
            self._run(number, row, run, reckoned)
            return reckoned.summary

        which, figures = trial.read(
            folder, self._runs, self._scale, row.load, row.full, row.exit_code, summary_of
        )
        here = {"folder": row.folder, "exit_code": row.exit_code, "command": there.get("command")}
        for summary in summaries.values():
            here["exit_code"] = summary["exit_code"]
        if self._asked is not None:
            here["command"] = trial.shown(self._runs, self._asked, row.load, row.full)
        return {**here, **figures, **conduct.outcome(which)}, which

    def _run(self, number: int, row: Row, run: Run, reckoned: Reckoned) -> None:
        """Check a trial's files against its run's tables, and its load and gates against those the search asked for."""
        its = check.verify(run, reckoned)
        place = text.clean(run.path.relative_to(self._folder))
        self._found.disagreements += [f"{place}: {said}" for said in its.disagreements]
        self._runs_absent += len(its.absent)
        self._found.count("the trials' own files", sum(its.compared.values()))
        name = f"trial {number + 1} ({place})"
        try:
            scenario = from_resolved(run.manifest["scenario"], self._content.request.target)
            was = scale_of(scenario, self._axis, self._content.request.variable)
        except ScenarioError as error:
            why = text.clean(error.problems[0] if error.problems else error)
            self._found.notes.append(f"{name}: its load is not compared: {why}")
            return
        length_ns = self._content.full_ns if row.full else self._content.short_ns
        for what, said, right in (
            ("measures for", scenario.phases.measure_ns, length_ns),
            ("has the gates", list(scenario.gates), [goal.text for goal in self._runs.goals]),
            ("has the unit", was.unit, self._content.unit),
        ):
            if said != right:
                self._found.disagreements.append(
                    f"{name}: the run {what} {text.clean(said)}, and the search asked for {text.clean(right)}"
                )
        if not compared.agree(float(was.base), float(row.load), _LOAD_TOLERANCE):
            self._found.disagreements.append(
                f"{name}: the run had a load of {was.base:g}{text.clean(was.unit)}, and {NAME} says {row.load:g}"
            )
        self._found.count("the trials' loads", 4)

    def _step(self, number: int, before: Sequence[Trial], here: Mapping[str, Any]) -> dict[str, Any]:
        """Return load, length and reason of trial ``number`` as the search chooses them after the trials ``before``.

        Once a recomputed value has differed from the record, return the values in capacity.json: recomputing later
        choices proves nothing then.
        """
        said = self._written["trials"][number]
        kept = {name: said.get(name) for name in ("load", "full", "why")}
        if not self._found.agrees:
            return kept
        step = next_step(self._settings, before)
        if isinstance(step, Ask):
            return {"load": step.load, "full": step.full, "why": step.why}
        self._found.disagreements.append(
            f"{NAME}: trial {number + 1} was made, and by the trials before it the limit was known"
        )
        return kept

    def _limits(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        content, goals = self._content, self._content.request.goals
        limits: Sequence[Limit]
        if content.status == "running":
            limits = ()
        elif content.status == "complete":
            step = next_step(self._settings, trials)
            if isinstance(step, Ask):
                self._found.disagreements.append(
                    f"{NAME}: status is complete, and by the trials the search goes on at {step.load:g}{content.unit}"
                )
                limits = so_far(self._settings, trials, "")
            else:
                limits = step
        else:
            limits = so_far(self._settings, trials, self._reason())
        return conduct.named(goals, limits)

    def _reason(self) -> str:
        """Return why a search ended early; the reason of a failed search can only come from capacity.json."""
        known = _REASONS.get(self._content.status)
        if known is not None:
            return known
        written = self._written.get("limits")
        entries = written if isinstance(written, list) else []
        return next(
            (
                str(limit.get("reason"))
                for limit in entries
                if isinstance(limit, dict) and limit.get("kind") == "unfinished"
            ),
            "",
        )

    def _second_opinion(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Recount, with separate code, the trials that passed or failed each goal at the bounds of its limit."""
        limits = self._written.get("limits")
        goals = self._content.request.goals
        for limit in limits if isinstance(limits, list) else []:
            if not self._found.agrees or limit["goal"] is None:
                continue
            goal = goals.index(limit["goal"])
            for bound in ("lower", "upper"):
                if limit[bound] is None:
                    continue
                votes = [
                    row["votes"][goal]
                    for row in rows
                    if row["load"] == limit[bound] and row["full"] and not row["doubt"]
                ]
                counted = [votes.count("passed"), votes.count("failed")]
                self._found.count("votes counted again", 2)
                if counted != limit[f"{bound}_votes"]:
                    self._found.disagreements.append(
                        f"{NAME}: at {limit[bound]:g} the trials have the votes {counted}, and the limit says"
                        f" {limit[f'{bound}_votes']}"
                    )

    def _page(self) -> None:
        name = "capacity.html"
        try:
            written = compared.read_text(self._folder / name)
        except FileNotFoundError:
            self._found.notes.append(f"there is no {name} to compare: {self._found.remedy} writes it")
            return
        except DamagedError as error:
            self._found.disagreements.append(f"{name} {error}")
            return
        if not self._found.agrees:
            self._found.notes.append(f"{name}: not compared, as it is made of {NAME}")
            return
        try:
            here = report.render(self._written, "")
        except Exception as error:
            # A file of an older version may lack fields that the page needs, which is no disagreement.
            self._found.notes.append(
                f"{name}: not compared, as it cannot be made of {NAME} ({type(error).__name__})"
            )
            return
        compared.words(name, compared.page(here), compared.page(written), self._maker, self._found)


def _reckoned(run: Run) -> Reckoned:
    """Recompute a trial's run from its tables, including its summary.

    Raises:
        ReadError: the record is damaged.
    """
    reckoned = Reckoned(run)
    try:
        reckoned.summary  # noqa: B018  computed here so that its errors are caught here
    except ReadError:
        raise
    except Exception as error:
        raise damaged(run.path, error) from error
    return reckoned


def _believed(there: Mapping[str, Any], row: Row, runs: trial.Runs, scale: Scale) -> Trial:
    """Return a trial as capacity.json describes it, for a trial whose run is gone."""
    doubt = str(there.get("doubt") or "")
    if doubt:
        findings = (there.get("verdict") or {}).get("findings", ())
        own = any(finding["subject"] in trial.OWN for finding in findings)
        return Trial(row.load, row.full, (), doubt, own)
    gates = there.get("gates")
    if gates:
        offered, goodput = there.get("offered_deliveries_per_s"), there.get("goodput_per_s")
        votes = tuple(
            trial.vote(goal, gate, scale, row.load, offered, goodput)
            for goal, gate in zip(runs.goals, gates, strict=True)
        )
        if [vote.status.value for vote in votes] == there.get("votes"):
            return Trial(row.load, row.full, votes)
    return Trial(row.load, row.full, tuple(Vote(Status(said)) for said in there["votes"]))
