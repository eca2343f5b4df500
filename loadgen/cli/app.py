"""The Typer application, its shared options, and the commands that are always loaded.

Commands import the modules they need when called, so that `loadgen --help` stays fast.
"""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from loadgen.cli.help import Application
from loadgen.cli.parameters import parameter, takes_run_options
from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.run.options import RunOptions
from loadgen.version import VERSION

TargetOption = Annotated[str | None, parameter("target")]
ApiKeyEnvOption = Annotated[str | None, parameter("api_key_env")]
AuthOption = Annotated[str | None, parameter("auth")]
FaultsOption = Annotated[Path | None, parameter("faults")]
ProcessesOption = Annotated[int, parameter("processes")]
OverridesOption = Annotated[list[str] | None, parameter("overrides")]
AllowRemoteOption = Annotated[bool, parameter("allow_remote")]
NoProxyOption = Annotated[bool, parameter("no_proxy")]
AllowEnvOption = Annotated[list[str] | None, parameter("allow_env")]
AllowFileOption = Annotated[list[Path] | None, parameter("allow_file")]
AllowCommandsOption = Annotated[bool, parameter("allow_commands")]
AllowUsersOption = Annotated[bool, parameter("allow_users")]
ProfileOption = Annotated[str | None, parameter("profile")]
PartsFromOption = Annotated[
    list[str] | None,
    typer.Option(
        "--parts-from",
        help="Read rows that workers stored elsewhere (`--spool-to`) from this place; repeatable.",
        metavar="URI",
    ),
]
RegionOption = Annotated[str | None, parameter("region")]

app = Application(
    name="loadgen",
    epilog="`loadgen COMMAND -h` describes a command. A first run: `loadgen run comments`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"loadgen {VERSION}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Load-test realtime publish/subscribe services such as AWS AppSync Events."""


def fail(message: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Print an error message, which may have a line per problem, and exit with ``code``."""
    say(message)
    raise typer.Exit(int(code))


def trust_parts(uris: list[str] | None) -> None:
    """Let this command read rows from the places that its option `--parts-from` names."""
    if uris:
        from analysis.record import places

        try:
            places.trust([places.Place.of(uri) for uri in uris])
        except places.PlaceError as error:
            fail(f"--parts-from: {error}")


@app.command()
@takes_run_options
def run(options: RunOptions) -> None:
    """Run a scenario and report the results.

    Exit codes: 0 passed, 1 a gate failed, 2 usage or scenario error, 3 inconclusive, 4 target unreachable or refused,
    130 interrupted (the results so far are kept and reported).
    """
    from loadgen.cli import launch

    raise typer.Exit(launch.run(options))


@app.command()
def schema(
    protocol: Annotated[
        bool, typer.Option("--protocol", help="Print the schema of protocol files instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors."""
    if protocol:
        from loadgen import protocol_file

        print(json.dumps(protocol_file.json_schema(), indent=2))
        return
    from loadgen.scenario import json_schema

    print(json.dumps(json_schema(), indent=2))


class ReportFormat(Enum):
    """Output format of a report."""

    HTML = "html"
    PDF = "pdf"
    MD = "md"


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Run folder.")],
    format_: Annotated[
        ReportFormat,
        typer.Option(
            "--format", help="html for report.html, pdf for report.pdf (extra pdf), md for summary.md."
        ),
    ] = ReportFormat.HTML,
    parts_from: PartsFromOption = None,
) -> None:
    """Write a run's summary and report again."""
    from loadgen.cli import launch

    trust_parts(parts_from)

    if format_ is ReportFormat.PDF:
        from analysis.report import pdf

        pdf.require()
    code = launch.report(folder)
    if code == 0 and format_ is ReportFormat.PDF:
        from analysis import summary
        from analysis.loading import run

        record = run.load(folder)
        pdf.write(record, summary.summarise(record), folder / "report.pdf")
        print(f"report: {folder / 'report.pdf'}")
    elif code == 0 and format_ is ReportFormat.MD:
        print(f"report: {folder / 'summary.md'}")
    raise typer.Exit(code)


@app.command()
def calibrate(
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this case; repeatable.", metavar="NAME")
    ] = None,
    deliveries: Annotated[
        int, typer.Option(help="Approximate number of deliveries in the ledger case.", min=10_000)
    ] = 1_050_000,
    seconds: Annotated[int, typer.Option(help="Seconds to measure in every other case.", min=3)] = 10,
    results: Annotated[
        Path | None, typer.Option(help="Keep runs and journals here; default: a temporary folder.")
    ] = None,
) -> None:
    """Check the harness's measurements against known faults.

    The embedded server injects faults and keeps a journal of them. Each line of the printed table compares the journal
    with a result of the harness.

    Exit codes: 0 every line agrees, 3 a line disagrees, 130 interrupted.
    """
    from analysis import extras

    extras.require("pandas", "loadgen calibrate")
    from analysis.console import screen
    from loadgen.calibrate import cases, runner

    known = cases.cases(deliveries, seconds)
    wanted = set(only or ())
    if unknown := sorted(wanted - {case.name for case in known}):
        fail(f"there is no case {unknown[0]!a}: known are {', '.join(case.name for case in known)}")
    chosen = [case for case in known if not wanted or case.name in wanted]
    code = runner.calibrate(chosen, results or runner.default_results(), screen(log_columns=150))
    raise typer.Exit(int(code))


@app.command(hidden=True)
def version() -> None:
    """Print the version."""
    print(VERSION)
