"""Run the cases: start a server with faults and a journal, run load against it, compare, print a table.

The journal is the embedded server's own record of events, deliveries and injected faults (`loadgen.server.journal`).
"""

import json
import os
import secrets
import string
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

import analysis
from analysis.record.folders import runs_in
from loadgen import subprocesses
from loadgen.calibrate.cases import Case
from loadgen.calibrate.checks import Line
from loadgen.calibrate.truth import Truth
from loadgen.exits import ExitCode
from loadgen.paths import bundle
from loadgen.run import locust_options
from loadgen.run.options import RunOptions
from loadgen.server.journal_reader import Journal
from loadgen.server.process import ServerProcess

_HERE = Path(__file__).parent
_KEY_VARIABLE = "LOADGEN_CALIBRATION_KEY"


@dataclass(frozen=True)
class Outcome:
    """The result of one case."""

    case: Case
    lines: tuple[Line, ...]
    #: The reason why the run could not be compared with the journal, or None if it was compared.
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """True if the run was compared with the journal and no line of the result failed."""
        return self.failure is None and all(line.passed is not False for line in self.lines)


def calibrate(cases: Sequence[Case], results: Path, console: Console) -> ExitCode:
    """Run the cases one after the other and print a table of injected and measured values.

    Returns:
        PASSED if every case passed, INTERRUPTED after Ctrl-C, else INCONCLUSIVE.
    """
    outcomes = []
    for number, case in enumerate(cases, start=1):
        console.print(Text(f"{number}/{len(cases)} {case.name}: {case.about}", style="dim"))
        try:
            outcomes.append(run_case(case, results))
        except KeyboardInterrupt:
            console.print(_table(outcomes))
            return ExitCode.INTERRUPTED
    console.print(_table(outcomes))
    for outcome in outcomes:
        if outcome.failure is not None:
            console.print(Text(f"{outcome.case.name}: {outcome.failure}", style="bold red"))
    passed = all(outcome.passed for outcome in outcomes)
    console.print(
        Text("calibrated: every line agrees", style="bold green")
        if passed
        else Text("NOT calibrated: the lines marked ✗ disagree with the server's journal", style="bold red")
    )
    return ExitCode.PASSED if passed else ExitCode.INCONCLUSIVE


def run_case(case: Case, results: Path) -> Outcome:
    """Run one case; keep its run folder and journal in a new folder below ``results``."""
    folder = results / f"calibration-{case.name}"
    folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=folder))
    faults = folder / "faults.yaml"
    # The server reads the faults as YAML, and every JSON document is also YAML.
    faults.write_text(json.dumps(case.faults, indent=1) + "\n")
    key = "da2-" + "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(26))
    with ServerProcess(
        ["--faults", str(faults), "--journal", str(folder / "journal")], api_key=key
    ) as server:
        finished = subprocess.run(  # noqa: S603
            _command(case, folder, server.announcement.http_url),
            env={**subprocesses.environment(), _KEY_VARIABLE: key, "LOADGEN_QUIET": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    if finished.returncode not in case.exit_codes:
        said = finished.stderr.strip().splitlines()
        reason = said[-1] if said else "it said nothing"
        return Outcome(case, (), f"the run ended with exit code {finished.returncode}: {reason}")
    try:
        (made,) = runs_in(folder)
        run = analysis.load(made)
        truth = Truth.of(run, Journal.load(folder / "journal"))
        lines = tuple(line for check in case.checks for line in check(truth))
    except (OSError, ValueError, analysis.ReadError) as error:
        return Outcome(case, (), str(error))
    return Outcome(case, (*lines, *_conditions(case, run)))


def _conditions(case: Case, run: analysis.Run) -> list[Line]:
    """Return a line about the generator's own CPU use, or an empty list if the case does not keep it busy."""
    if not case.busy:
        return []
    window, health = run.measure, run.health
    assert window is not None
    inside = health[(health["time_ns"] > window.start_ns) & (health["time_ns"] < window.end_ns)]
    allowed_ns = inside[["interval_ns", "allowed_ns"]].astype("float64").min(axis=1)
    cpu = float(inside["cpu_ns"].sum() / allowed_ns.sum())
    return [
        Line("generator's CPU", "> 90 %", f"{cpu:.0%}", "", "of what it is allowed, on average", cpu > 0.9)
    ]


def _command(case: Case, folder: Path, url: str) -> list[str]:
    locustfile = _HERE / "busy_locustfile.py" if case.busy else bundle("locustfile.py")
    options = RunOptions(
        scenario=str(_HERE / "scenario.yaml"),
        target=url,
        api_key_env=_KEY_VARIABLE,
        results=folder,
        overrides=list(case.overrides),
        report=False,
    )
    return [
        *subprocesses.command(
            "locust", "-f", str(locustfile), "--headless", "--only-summary", "--loglevel", "WARNING"
        ),
        *locust_options.arguments(options),
    ]


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("case", style="dim")
    table.add_column("what")
    for name in ("server's journal", "harness", "naive receiver"):
        table.add_column(name, justify="right")
    table.add_column("difference")
    for outcome in outcomes:
        for line in outcome.lines:
            mark = {True: Text("✓", "green"), False: Text("✗", "bold red"), None: Text("")}[line.passed]
            table.add_row(
                mark, outcome.case.name, line.what, line.truth, line.harness, line.naive, line.difference
            )
    return table


def default_results() -> Path:
    """Return a new temporary folder for calibration runs: the results folder is for runs that are kept."""
    return Path(tempfile.mkdtemp(prefix="loadgen-calibration-", dir=os.environ.get("TMPDIR")))
