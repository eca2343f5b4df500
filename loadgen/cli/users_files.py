"""The Python files with a run's user classes: the file in `loadgen run my_users.py`, or the files a scenario names."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from loadgen.exits import ExitCode, RunError
from loadgen.paths import bundle
from loadgen.resolve import ResolvedRun
from loadgen.resolve.loading import load
from loadgen.run import locust_options
from loadgen.run.options import RunOptions
from loadgen.scenario.loading import find

_OF_LOCUSTFILES: Final = ("data", "users", "spawn_rate", "run_time")


def is_locustfile(scenario: str | None) -> bool:
    """Return True if the argument of `loadgen run` is a Python file instead of a scenario."""
    return scenario is not None and scenario.endswith(".py")


def loads(request: RunOptions) -> bool:
    """Return True if the run loads Python files other than the harness's own."""
    return is_locustfile(request.scenario) or request.allow_users


def problem(request: RunOptions) -> str | None:
    """Return an error if the locustfile cannot be loaded or a given option needs a locustfile, else None."""
    if is_locustfile(request.scenario):
        if not Path(str(request.scenario)).is_file():
            return f"{request.scenario}: there is no such file"
        if "," in str(request.scenario):
            return f"{request.scenario}: Locust cannot load a file with a comma in its name"
        return None
    for name in _OF_LOCUSTFILES:
        if getattr(request, name):
            return (
                f"--{name.replace('_', '-')} goes with a locustfile, as in `loadgen run my_users.py`: a scenario says"
                " such things itself"
            )
    return None


def files(request: RunOptions, run: ResolvedRun | None) -> tuple[Path, ...]:
    """Return the locustfiles that Locust loads.

    Raises:
        RunError: the scenario names a file that is missing or outside the scenario's folder, or --allow-users is not
        given.
        ScenarioError: the scenario of a worker cannot be read.
    """
    if is_locustfile(request.scenario):
        return (Path(str(request.scenario)).absolute(),)
    ours = bundle("locustfile.py")
    if run is not None:
        named = [group.users for group in run.journeys if group.users is not None]
    elif request.scenario is not None:
        # A worker loads the files named on its own command line, even if the master runs another scenario.
        named = [group.users for group in load(request.scenario).clients.values() if group.users is not None]
    else:
        named = []
    if not named:
        return (ours,)
    assert request.scenario is not None
    folder = find(request.scenario).absolute().parent
    found = dict.fromkeys(_file(folder, each.rpartition(":")[0]) for each in named)
    if not request.allow_users:
        first = next(iter(found)).name
        raise RunError(
            f"the scenario would run the code in {first!a}: allow it with --allow-users", ExitCode.USAGE
        )
    return (ours, *found)


def _file(folder: Path, name: str) -> Path:
    path = folder / name
    if "," in name or not path.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            f"the scenario's 'users' name {name!a}, which is outside the scenario's folder: put it beside the scenario",
            ExitCode.USAGE,
        )
    if not path.is_file():
        raise RunError(f"the scenario's 'users' name {name!a}: there is no such file", ExitCode.USAGE)
    return path


def for_locust(request: RunOptions) -> list[str]:
    """Return the arguments for the Locust subprocess, including Locust's own options such as `--users`."""
    alone = is_locustfile(request.scenario)
    words = locust_options.arguments(replace(request, scenario=None) if alone else request)
    if request.users is not None:
        words.append(f"--users={request.users}")
    if request.spawn_rate is not None:
        words.append(f"--spawn-rate={request.spawn_rate:g}")
    if request.run_time is not None:
        words.append(f"--run-time={request.run_time}")
    if request.tags:
        words += ["--tags", *request.tags]
    if request.exclude_tags:
        words += ["--exclude-tags", *request.exclude_tags]
    return words
