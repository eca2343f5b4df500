"""`loadgen capacity`: find the highest load that a target can take."""

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import PydanticCustomError

from analysis.console import print_line
from loadgen.capacity.axes import Axis
from loadgen.cli.app import (
    AllowCommandsOption,
    AllowEnvOption,
    AllowFileOption,
    AllowRemoteOption,
    AllowUsersOption,
    ApiKeyEnvOption,
    AuthOption,
    FaultsOption,
    NoProxyOption,
    ProcessesOption,
    ProfileOption,
    RegionOption,
    TargetOption,
    app,
    fail,
)
from loadgen.cli.parameters import arguments, parameter
from loadgen.config.units import parse_positive_duration
from loadgen.exits import ExitCode
from loadgen.run.options import ENTRIES

#: Options of `loadgen run` that a search stores for its trials and for --resume. Names are those in `run.options`.
_KEPT = ("target", "profile", "region", "api_key_env", "auth", "faults", "processes")
#: Options that grant a permission. They are not taken from a resumed search: the user must give them again.
_PERMISSIONS = (
    "allow_remote",
    "no_proxy",
    "yes",
    "allow_commands",
    "allow_env",
    "allow_file",
    "allow_users",
)
_LOAD = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/s|B)?")


@app.command()
def capacity(
    scenario: Annotated[
        str | None, typer.Argument(help="Catalogue name or YAML file; leave it out with --resume.")
    ] = None,
    axis: Annotated[Axis, typer.Option(help="Property of the scenario to scale.")] = Axis.EVENTS,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            help="Goal, written like a gate: 'delivery.latency.p99 < 250ms'; repeatable.", metavar="GATE"
        ),
    ] = None,
    low: Annotated[
        str | None, typer.Option("--from", help="Lowest load to try, and the first.", metavar="LOAD")
    ] = None,
    high: Annotated[str | None, typer.Option("--to", help="Highest load to try.", metavar="LOAD")] = None,
    precision: Annotated[
        str, typer.Option(help="Widest acceptable interval for the limit.", metavar="SHARE")
    ] = "5%",
    budget: Annotated[
        str | None, typer.Option(help="Start no trial after this time, such as 30m.", metavar="TIME")
    ] = None,
    short: Annotated[
        str | None,
        typer.Option(
            help="Measure phase of short trials; default: a quarter of --measure, at least 2s.",
            metavar="TIME",
        ),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(help="Measure phase of full-length trials; default: the scenario's.", metavar="TIME"),
    ] = None,
    variable: Annotated[
        str | None, typer.Option(help="With --axis channels: variable to scale.", metavar="NAME")
    ] = None,
    target: TargetOption = None,
    api_key_env: ApiKeyEnvOption = None,
    auth: AuthOption = None,
    faults: FaultsOption = None,
    allow_remote: AllowRemoteOption = False,
    no_proxy: NoProxyOption = False,
    allow_env: AllowEnvOption = None,
    allow_file: AllowFileOption = None,
    allow_commands: AllowCommandsOption = False,
    allow_users: AllowUsersOption = False,
    profile: ProfileOption = None,
    region: RegionOption = None,
    yes: Annotated[bool, parameter("yes", help="Run trials that cost money without confirmation.")] = False,
    processes: ProcessesOption = 1,
    overrides: Annotated[
        list[str] | None, parameter("overrides", help="Override a value in every trial.")
    ] = None,
    results: Annotated[Path, parameter("results", help="Folder to create the search's folder in.")] = Path(
        "results"
    ),
    resume: Annotated[
        Path | None, typer.Option(help="Continue the search in this folder.", metavar="FOLDER")
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Search by plain bisection, for comparison.")
    ] = False,
) -> None:
    """Find the highest load that meets all goals.

    The result is an interval: the highest load that passed and the lowest that failed, each proven by repeated trials.

    Exit codes: 0 the limit is found, or the highest load passes; 1 the lowest load fails; 2 usage; 3 the limit is not
    known (the generator is the limit, the trials do not decide, or --budget is used up); 4 target unreachable; 130
    interrupted (--resume continues).
    """
    from analysis import extras

    # Check now that the packages for fitting the curve are installed: the fit is the last step of a long search.
    extras.require("compare", "loadgen capacity")
    from analysis.report import capacity as report
    from loadgen.capacity import record
    from loadgen.capacity.conduct import Request, Search
    from loadgen.scenario import ScenarioError

    content: dict[str, Any] | None = None
    permissions = arguments(
        allow_remote=allow_remote,
        no_proxy=no_proxy,
        yes=yes,
        allow_commands=allow_commands,
        allow_env=allow_env,
        allow_file=allow_file,
        allow_users=allow_users,
    )
    try:
        if resume is not None:
            if scenario is not None or slo:
                fail("--resume continues a search as it was begun: leave out the scenario and --slo")
            content, folder = record.read(resume), resume
            said = content["request"]
            lists = {name: tuple(said[name]) for name in ("goals", "options", "overrides")}
            # Someone else may have written the folder, so ignore the permissions stored in it.
            lists["options"] = _resumed(lists["options"]) + permissions
            request = Request(**{**said, **lists})
        else:
            if scenario is None or not slo:
                fail(
                    "give a scenario and a goal: loadgen capacity comments --slo 'delivery.latency.p99 < 250ms'"
                )
            _may_go(scenario, target, allow_remote, overrides or [])
            kept = arguments(
                target=target,
                profile=profile,
                region=region,
                api_key_env=api_key_env,
                auth=auth,
                faults=faults,
                processes=processes,
            )
            request = Request(
                scenario=scenario,
                axis=axis.value,
                goals=tuple(slo),
                low=_load("--from", low),
                high=_load("--to", high),
                precision=_precision(precision),
                budget_ns=_time("--budget", budget),
                short_ns=_time("--short", short),
                full_ns=_time("--measure", measure),
                options=kept + permissions,
                overrides=tuple(overrides or ()),
                variable=variable,
                predict=not bisect,
            )
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%SZ")
            folder = results / f"capacity-{stamp}-{time.time_ns() % 0x10000:04x}"
        search = Search(request, folder, print_line)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"capacity: {folder}", flush=True)
        if content is not None:
            search.resume(content)
            print(f"{len(search.trials)} trials are there", flush=True)
    except ScenarioError as error:
        fail(str(error))
    except record.RecordError as error:
        fail(str(error))
    except (KeyError, TypeError, StopIteration):
        fail(f"{resume}/{record.NAME} is damaged: begin a new search")
    except OSError as error:
        fail(f"{error.filename or folder} cannot be used: {error.strerror}")
    code = search.go()
    written = report.write(folder, record.read(folder))
    for line in report.sentences(record.read(folder)):
        print_line(line)
    if code is ExitCode.INTERRUPTED:
        print(f"continue: loadgen capacity --resume {folder}")
    print(f"report: {written}")
    raise typer.Exit(int(code))


def _resumed(options: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options of a resumed search without its permissions.

    Raises:
        KeyError: capacity.json contains an option that no search stores.
    """
    may = {ENTRIES[name].flag: ENTRIES[name] for name in (*_PERMISSIONS, *_KEPT)}
    kept: list[str] = []
    words = iter(options)
    for word in words:
        entry = may[word]
        said = [word] if entry.type is bool else [word, next(words)]
        if entry.name in _KEPT:
            kept += said
    return tuple(kept)


def _may_go(scenario: str, target: str | None, allow_remote: bool, overrides: list[str]) -> None:
    """Refuse a search against a remote target without --allow-remote, before its first trial.

    Raises:
        ScenarioError: the scenario or an override is not valid.
    """
    from loadgen.planning import guard
    from loadgen.planning.prices import load_prices
    from loadgen.resolve.resolver import planned

    if allow_remote:
        return
    _, found = planned(scenario, overrides, target)
    if (where := guard.elsewhere(target, found)) is not None:
        protocol = guard.protocol_for(target, found)
        refusal = guard.check(found, load_prices(None), None, where, protocol=protocol).refusal
        fail(f"{refusal}, and a search makes many of them, most with a load of their own")


def _load(option: str, said: str | None) -> float | None:
    if said is None:
        return None
    found = _LOAD.fullmatch(said.strip())
    if found is None or not 0 < float(found[1]) <= 1e7:
        fail(f"{option} {said}: write a load above zero in the axis' unit, such as 200")
    return float(found[1])


def _time(option: str, said: str | None) -> int | None:
    if said is None:
        return None
    try:
        return parse_positive_duration(said)
    except PydanticCustomError as error:
        fail(f"{option} {error.message()}")


def _precision(said: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", said.strip())
    if found is None or not 0.5 <= float(found[1]) <= 100:
        fail(f"--precision {said}: write a share from 0.5% to 100%, such as 5%")
    return float(found[1]) / 100
