"""The Typer application, its shared options, and the commands that every start loads.

Commands import the modules they need when called, so that `loadgen --help` stays fast.
"""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from loadgen import __version__
from loadgen.console import say
from loadgen.credentials.help import HELP as LOGIN_HELP
from loadgen.exits import ExitCode

TargetOption = Annotated[
    str | None,
    typer.Option(
        help="URL of an Event API, aws:STACK for a stack of `loadgen aws up`, mqtt://HOST for a broker, or a URL of a"
        " protocol file such as nats+ws://HOST:PORT; default: the embedded server.",
        metavar="URL",
    ),
]
AllowRemoteOption = Annotated[
    bool,
    typer.Option("--allow-remote", help="Allow a target on another machine (not a loopback address)."),
]
NoProxyOption = Annotated[
    bool,
    typer.Option("--no-proxy", help="Connect directly: ignore HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."),
]
AllowEnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-env",
        help="Allow a scenario, protocol file or master to use this environment variable.",
        metavar="NAME",
    ),
]
AllowFileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-file",
        help="Allow a scenario or master to log in with this file, or with files in this folder.",
        metavar="PATH",
    ),
]
AllowCommandsOption = Annotated[
    bool,
    typer.Option("--allow-commands", help="Allow a scenario or master to run a command that prints a token."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="With aws:STACK: AWS profile.", metavar="NAME"),
]
RegionOption = Annotated[
    str | None, typer.Option(help="With aws:STACK: AWS region of the stack.", metavar="REGION")
]

app = typer.Typer(
    name="loadgen",
    help="Load-test realtime publish/subscribe services such as AWS AppSync Events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def fail(message: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Print an error message, which may have a line per problem, and exit with ``code``."""
    say(message)
    raise typer.Exit(int(code))


@app.command()
def run(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="Catalogue name (see `loadgen scenarios`) or YAML file; not needed with --worker."
        ),
    ] = None,
    target: TargetOption = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Environment variable with the target's API key.", metavar="NAME"),
    ] = None,
    auth: Annotated[str | None, typer.Option(help=LOGIN_HELP, metavar="HOW")] = None,
    results: Annotated[Path, typer.Option(help="Folder to create the run folder in.")] = Path("results"),
    faults: Annotated[
        Path | None,
        typer.Option(help="Faults for the embedded server to inject (YAML).", metavar="FILE"),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Folder for the embedded server's journal.", metavar="FOLDER")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a value, such as clients.readers.count=100.", metavar="KEY=VALUE"
        ),
    ] = None,
    processes: Annotated[int, typer.Option(help="Worker processes on this machine.", min=1, max=256)] = 1,
    master: Annotated[bool, typer.Option(help="Run as master of workers on other machines.")] = False,
    expect_workers: Annotated[
        int, typer.Option(help="With --master: start once this many workers have joined.", min=1)
    ] = 1,
    worker: Annotated[bool, typer.Option(help="Run as worker of the master at --master-host.")] = False,
    master_host: Annotated[str, typer.Option(help="With --worker: host of the master.")] = "127.0.0.1",
    master_port: Annotated[int, typer.Option(help="Port of the master.", min=1, max=65535)] = 5557,
    weight: Annotated[
        str | None,
        typer.Option(
            help="With --worker: relative share of the clients; 2 gets twice as many as 1 (default: LOADGEN_WEIGHT or"
            " 1).",
            metavar="NUMBER",
        ),
    ] = None,
    workers_timeout: Annotated[
        float, typer.Option(help="With --master: time to wait for workers.", metavar="SECONDS", min=1)
    ] = 600.0,
    master_bind_host: Annotated[
        str, typer.Option(help="With --master: address to listen on for workers.")
    ] = "127.0.0.1",
    join: Annotated[
        Path | None,
        typer.Option(
            help="With --master or --worker: file with the keys for workers to join; a master creates it if it is"
            " missing (default: LOADGEN_JOIN_MASTER, LOADGEN_JOIN_WORKER).",
            metavar="FILE",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="Refuse a run estimated to cost more on AWS, and stop one that has cost more.",
            metavar="USD",
            min=0,
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(help="Your own prices and quotas (YAML); see docs/prices.md.", metavar="FILE"),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(help="Write report.html; `loadgen report FOLDER` can write it later."),
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a run that costs money.")] = False,
    allow_remote: AllowRemoteOption = False,
    no_proxy: NoProxyOption = False,
    allow_env: AllowEnvOption = None,
    allow_file: AllowFileOption = None,
    allow_commands: AllowCommandsOption = False,
    profile: ProfileOption = None,
    region: RegionOption = None,
    cloudwatch: Annotated[
        bool,
        typer.Option(
            "--cloudwatch",
            help="Compare the results with CloudWatch's metrics, which takes some minutes after the run.",
        ),
    ] = False,
    web: Annotated[bool, typer.Option(help="Show Locust's web UI and wait for its start button.")] = False,
    web_port: Annotated[int, typer.Option(help="Port of the web UI.", min=1, max=65535)] = 8089,
    prometheus: Annotated[
        str | None,
        typer.Option(
            help="Serve metrics for Prometheus at /metrics; without HOST on the loopback interface only.",
            metavar="[HOST:]PORT",
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="Accept this host name too, for the web UI and the Prometheus port.",
            metavar="NAME",
        ),
    ] = None,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Push metrics by OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT (needs the extra `live`).",
        ),
    ] = False,
) -> None:
    """Run a scenario and report the results.

    Exit codes: 0 passed, 1 a gate failed, 2 usage or scenario error, 3 inconclusive, 4 target unreachable or refused,
    130 interrupted (the results so far are kept and reported).
    """
    from loadgen.cli import launch
    from loadgen.cli.request import Request

    raise typer.Exit(
        launch.run(
            Request(
                scenario=scenario,
                target=target,
                api_key_env=api_key_env,
                auth=auth,
                results=results,
                overrides=overrides or [],
                processes=processes,
                master=master,
                expect_workers=expect_workers,
                worker=worker,
                master_host=master_host,
                master_port=master_port,
                master_bind_host=master_bind_host,
                web=web,
                web_port=web_port,
                prometheus=prometheus,
                allowed_hosts=allowed_hosts or (),
                otel=otel,
                faults=faults,
                journal=journal,
                join=join,
                max_cost=max_cost,
                prices=prices,
                yes=yes,
                weight=weight,
                workers_timeout=workers_timeout,
                report=report,
                allow_remote=allow_remote,
                no_proxy=no_proxy,
                allow_env=allow_env or [],
                allow_file=allow_file or [],
                allow_commands=allow_commands,
                profile=profile,
                region=region,
                cloudwatch=cloudwatch,
            )
        )
    )


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
        typer.Option("--format", help="html for report.html, pdf for report.pdf, md for summary.md."),
    ] = ReportFormat.HTML,
) -> None:
    """Write a run's summary and report again."""
    from loadgen.cli import launch

    code = launch.report(folder)
    if code == 0 and format_ is ReportFormat.PDF:
        from analysis import summary
        from analysis.loading import run
        from analysis.report import pdf

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

    The embedded server injects faults and keeps a journal of them. The table compares each with the harness's result.

    Exit codes: 0 every line agrees, 3 a line disagrees, 130 interrupted.
    """
    from rich.console import Console

    from loadgen.calibrate import cases, runner

    known = cases.cases(deliveries, seconds)
    wanted = set(only or ())
    if unknown := sorted(wanted - {case.name for case in known}):
        fail(f"there is no case {unknown[0]!a}: known are {', '.join(case.name for case in known)}")
    chosen = [case for case in known if not wanted or case.name in wanted]
    console = Console(highlight=False)
    if not console.is_terminal:
        # Without a terminal there is no width, and the default would wrap the table.
        console = Console(highlight=False, width=150)
    code = runner.calibrate(chosen, results or runner.default_results(), console)
    raise typer.Exit(int(code))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
