"""Run a scenario from Python, and read its result: for notebooks and tests.

The run is a `loadgen run` in a child process. So it neither needs nor changes anything in the caller's process: no
gevent patches, no signal handlers, no event loop, no environment variables.
"""

import json
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from loadgen.exits import ExitCode, RunError
from loadgen.run import ending
from loadgen.run.options import ENTRIES
from loadgen.scenario import ScenarioError
from loadgen.scenario_run import files as written_files
from loadgen.scenario_run.command import run_command, sentences

if TYPE_CHECKING:
    import pandas as pd

    from analysis.loading.run import Run
    from analysis.verdict.evaluate import Result

__all__ = ["RunInterrupted", "ScenarioRun", "run_scenario"]

#: Environment variable by which the child process gets ``api_key``.
_KEY: Final = "LOADGEN_RUN_API_KEY"


class ScenarioRun:
    """A finished run: its verdict, gates, tables and folder.

    Tables are pandas DataFrames, read from the folder on first access; results/README.md describes their columns. A
    temporary folder is removed with the last reference to this object; :meth:`keep` keeps it.
    """

    def __init__(
        self,
        folder: Path,
        exit_code: ExitCode,
        output: str,
        temporary: Path | None = None,
        parts_from: Sequence[str] = (),
    ) -> None:
        """Created by :func:`run_scenario`; the folder ``temporary`` is removed with this object.

        ``parts_from`` is the place where the run's workers stored their rows, if its option ``spool_to`` named one.
        """
        self._parts_from = parts_from
        self.folder = folder
        """The run folder."""
        self.exit_code = exit_code
        """The exit code of `loadgen run`."""
        self.output = output
        """The text that the command printed; of a long text, only the end."""
        self._removal = None if temporary is None else weakref.finalize(self, _remove, temporary)

    def __repr__(self) -> str:
        """Return the verdict and the gates, which a failing ``assert run.passed, run`` then prints."""
        try:
            gates = "".join(
                f"\n  {gate.status}: {gate.gate}{f' ({gate.reason})' if gate.reason else ''}"
                for gate in self.gates
            )
            findings = "".join(f"\n  {each['severity']}: {each['reason']}" for each in self.findings)
            return f"<run {self.folder.name}: {self.exit_code.name.lower()}, {self.verdict}{gates}{findings}>"
        except RunError:
            return f"<run {self.folder.name}: {self.exit_code.name.lower()}, no summary>"

    @property
    def passed(self) -> bool:
        """True if the run was measured and met all its gates."""
        return self.exit_code is ExitCode.PASSED

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json.

        Raises:
            RunError: the run ended before it wrote one.
        """
        try:
            found: dict[str, Any] = json.loads((self.folder / ending.SUMMARY).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(
                f"{self.folder} has no summary:\n{self.output[-2_000:]}", ExitCode.INCONCLUSIVE
            ) from None
        return found

    @property
    def verdict(self) -> str:
        """How far the figures can be trusted: `valid`, `degraded` or `invalid`; raises RunError without a verdict."""
        return str(self.summary["verdict"]["kind"])

    @property
    def findings(self) -> list[dict[str, Any]]:
        """The findings that made the run degraded or invalid; raises the same error as `summary`."""
        return list(self.summary["verdict"]["findings"])

    @cached_property
    def gates(self) -> "tuple[Result, ...]":
        """Each gate of the scenario, with its status and its value; raises the same error as `summary`."""
        from analysis.verdict.evaluate import Result

        return tuple(Result(**each) for each in self.summary["gates"])

    @property
    def ledger(self) -> dict[str, Any]:
        """Counts of expected, delivered and lost deliveries in the measure phase.

        Raises:
            RunError: nothing was measured, or the run has no summary.
        """
        found: dict[str, Any] | None = self.summary["ledger"]
        if found is None:
            raise RunError(f"{self.folder.name}: nothing was measured", ExitCode.INCONCLUSIVE)
        return found

    @cached_property
    def record(self) -> "Run":
        """The record as the analysis reads it; raises `analysis.ReadError` if it is unreadable."""
        from analysis.loading.run import load

        return load(self.folder, self._parts_from)

    @property
    def deliveries(self) -> "pd.DataFrame":
        """One row for each delivery, of all phases."""
        return self.record.deliveries

    @property
    def events(self) -> "pd.DataFrame":
        """One row for each event that was due, of all phases."""
        return self.record.events

    @property
    def subscriptions(self) -> "pd.DataFrame":
        """One row for each subscription; a reconnect begins a new life of the subscription and adds a row."""
        return self.record.subscriptions

    @property
    def connections(self) -> "pd.DataFrame":
        """One row for each client's connection; a reconnect begins a new life of the connection and adds a row."""
        return self.record.connections

    @property
    def health(self) -> "pd.DataFrame":
        """One row for each worker and second."""
        return self.record.health

    def report(self) -> Path:
        """Write report.html into the folder and return its path; raises RunError if that fails."""
        code, output, _, _ = run_command(
            ["report", str(self.folder), *(f"--parts-from={uri}" for uri in self._parts_from)], {}, echo=False
        )
        if code != 0:
            raise RunError(sentences(output), _exit_code(code))
        return self.folder / "report.html"

    def keep(self) -> Path:
        """Return the path of the run folder; if it is in a temporary folder, prevent the automatic removal."""
        if self._removal is not None:
            self._removal.detach()
        return self.folder


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C ended the run; ``run`` is the record kept up to that moment, or None if nothing was recorded."""

    def __init__(self, run: ScenarioRun | None) -> None:
        super().__init__("the run was interrupted" + ("" if run is None else f"; its record is {run.folder}"))
        self.run = run


def run_scenario(
    scenario: str | os.PathLike[str] | Mapping[str, Any],
    *,
    overrides: Mapping[str, Any] | None = None,
    files: Mapping[str, Any] | None = None,
    target: str | None = None,
    api_key: str | None = None,
    api_key_env: str | None = None,
    auth: str | None = None,
    environment: Mapping[str, str] | None = None,
    processes: int = 1,
    results: str | os.PathLike[str] | None = None,
    echo: bool = False,
    **options: Any,
) -> ScenarioRun:
    """Run a scenario to its end and return the run; a failed gate is a result, not an error.

    It blocks the calling thread. In a coroutine use ``await asyncio.to_thread(run_scenario, …)``.

    Args:
        scenario: name in the catalogue, path of a file, or the content of a file as a mapping.
        overrides: values by dotted path, such as ``{"clients.readers.count": 100}``. Texts are YAML, as with `--set`.
        files: files beside a scenario that is a mapping, by name: a path to copy, the text, or the rows, as mappings or
            a pandas DataFrame (.csv, .jsonl or .parquet).
        target: URL of the service; default is the scenario's, or the embedded server.
        api_key: API key of the target; it never appears on a command line.
        api_key_env: environment variable with the API key instead.
        auth: another login, in the form that `--auth` takes.
        environment: environment variables for the run besides those of this process, such as secrets of logins.
        processes: worker processes.
        results: folder to create the run folder in; default is a temporary folder, removed with the returned object.
        echo: print the command's output as it comes.
        options: further options of `loadgen run` by their names, such as ``faults="faults.yaml"`` or
            ``allow_env=["TOKEN"]``. `report` is off by default; :meth:`ScenarioRun.report` writes it.

    Raises:
        ScenarioError: the scenario or an option is not valid, or the run was refused; ``str()`` has the sentences.
        RunError: the run could not begin for another reason, such as an unreachable target; ``code`` says which.
        TypeError: an argument does not exist or has a wrong type, or two exclude each other.
        RunInterrupted: Ctrl-C; the run has ended, and its record is kept.
    """
    if api_key is not None and (api_key_env is not None or auth is not None):
        raise TypeError("give api_key, api_key_env or auth: each is a way to log in")
    if files is not None and not isinstance(scenario, Mapping):
        raise TypeError(
            "files go with a scenario that is a mapping; those of a scenario file stand beside it"
        )
    given = {"report": False, **options, "target": target, "auth": auth, "processes": processes}
    given["api_key_env"] = api_key_env if api_key is None else _KEY
    given["overrides"] = [f"{key}={written_files.yaml(value)}" for key, value in (overrides or {}).items()]
    temporary = Path(tempfile.mkdtemp(prefix="loadgen-run-"))
    run = None
    try:
        given["results"] = temporary / "results" if results is None else Path(results).absolute()
        name, written = os.fspath(scenario) if not isinstance(scenario, Mapping) else "", None
        if isinstance(scenario, Mapping):
            written = temporary / "scenario" / f"{written_files.file_name(scenario)}.yaml"
            written_files.write(written, scenario, files or {})
        variables = {**(environment or {}), **({} if api_key is None else {_KEY: api_key})}
        code, output, told, interrupted = run_command(
            ["run", *_arguments(given), "--", str(written or name)], variables, echo=echo
        )
        if written is not None:
            # Remove the temporary file's path and line numbers, which mean nothing to a caller that gave a mapping.
            output = re.sub(rf"{re.escape(str(written))}(:\d+)?", "scenario", output)
        if told.folder is not None:
            run = ScenarioRun(
                told.folder,
                _exit_code(code),
                output,
                temporary if results is None else None,
                [options["spool_to"]] if options.get("spool_to") else (),
            )
    finally:
        if run is None or results is not None:
            _remove(temporary)
    if interrupted:
        if run is not None:
            run.keep()
        raise RunInterrupted(run)
    if run is None:
        if code == ExitCode.USAGE:
            raise ScenarioError(sentences(output).splitlines())
        raise RunError(sentences(output), _exit_code(code))
    return run


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _exit_code(code: int) -> ExitCode:
    return ExitCode(code) if code in list(ExitCode) else ExitCode.INCONCLUSIVE


def _arguments(given: Mapping[str, Any]) -> list[str]:
    """Return the arguments of `loadgen run` for options given by name; raises TypeError for an unknown option."""
    arguments = []
    for name, value in given.items():
        entry = ENTRIES.get(name)
        if entry is None or entry.option.argument or name in _NOT_HERE:
            raise TypeError(f"run_scenario() has no option {name!r}")
        if entry.type is bool:
            if not isinstance(value, bool):
                raise TypeError(f"{name} is True or False, not {type(value).__name__}")
            if value is not entry.default:
                arguments.append(entry.flag if value else f"--no-{entry.flag.removeprefix('--')}")
            continue
        if entry.repeatable and (isinstance(value, str) or not isinstance(value, Sequence)):
            raise TypeError(f"{name} is a list, not {type(value).__name__}")
        values = value if entry.repeatable else [] if value is None else [value]
        # Join option and value by an equals sign, because a value may begin with a dash.
        arguments += [f"{entry.flag}={each}" for each in values]
    return arguments


#: Options that `run_scenario` refuses: they are only useful at a terminal, or on one of several machines.
_NOT_HERE: Final = frozenset({"web", "web_port", "worker", "master_host", "weight"})
