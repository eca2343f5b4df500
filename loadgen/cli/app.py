"""The commands; each does its work in a module of its own and imports it when it is called."""

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
        help="URL of the Event API, aws:STACK for one of `loadgen aws up`, mqtt://HOST for a broker, or another service"
        " by a protocol file, as nats+ws://HOST:PORT; default: the embedded server.",
        metavar="URL",
    ),
]
AllowRemoteOption = Annotated[
    bool,
    typer.Option(
        "--allow-remote", help="Send the load to a target that is not this machine (no loopback address)."
    ),
]
NoProxyOption = Annotated[
    bool,
    typer.Option("--no-proxy", help="Connect directly, whatever HTTPS_PROXY, HTTP_PROXY and ALL_PROXY say."),
]
AllowEnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-env",
        help="Let a scenario, a protocol file or a master use this environment variable.",
        metavar="NAME",
    ),
]
AllowFileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--allow-file",
        help="Let a scenario or a master log in with this file, or files of this folder.",
        metavar="PATH",
    ),
]
AllowCommandsOption = Annotated[
    bool,
    typer.Option("--allow-commands", help="Let a scenario or a master name a command that prints a token."),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(help="With aws:STACK: profile of the AWS configuration.", metavar="NAME"),
]
RegionOption = Annotated[
    str | None, typer.Option(help="With aws:STACK: AWS region of the stack.", metavar="REGION")
]

app = typer.Typer(
    name="loadgen",
    help="Load-test realtime publish/subscribe services, first of all AWS AppSync Events.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def fail(message: str, code: ExitCode = ExitCode.USAGE) -> NoReturn:
    """Say what is wrong, a line a problem, and exit."""
    say(message)
    raise typer.Exit(int(code))


@app.command()
def run(
    scenario: Annotated[
        str | None,
        typer.Argument(
            help="A name of the catalogue (see `loadgen scenarios`) or a YAML file; a --worker needs none."
        ),
    ] = None,
    target: TargetOption = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(help="Environment variable that holds the target's API key.", metavar="NAME"),
    ] = None,
    auth: Annotated[str | None, typer.Option(help=LOGIN_HELP, metavar="HOW")] = None,
    results: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("results"),
    faults: Annotated[
        Path | None,
        typer.Option(help="What the embedded server does wrong on purpose (YAML).", metavar="FILE"),
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Where the embedded server writes down what it did.", metavar="FOLDER")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a value, such as clients.readers.count=100.", metavar="KEY=VALUE"
        ),
    ] = None,
    processes: Annotated[int, typer.Option(help="Worker processes on this machine.", min=1, max=256)] = 1,
    master: Annotated[bool, typer.Option(help="Be the master of workers on other machines.")] = False,
    expect_workers: Annotated[
        int, typer.Option(help="With --master: begin when so many are there.", min=1)
    ] = 1,
    worker: Annotated[bool, typer.Option(help="Be a worker of --master-host.")] = False,
    master_host: Annotated[str, typer.Option(help="With --worker: where the master is.")] = "127.0.0.1",
    master_port: Annotated[int, typer.Option(help="Port of the master.", min=1, max=65535)] = 5557,
    weight: Annotated[
        str | None,
        typer.Option(
            help="With --worker: its part of the clients; 2 has twice as many as 1 (default: LOADGEN_WEIGHT or 1).",
            metavar="NUMBER",
        ),
    ] = None,
    workers_timeout: Annotated[
        float, typer.Option(help="With --master: how long to wait for workers.", metavar="SECONDS", min=1)
    ] = 600.0,
    master_bind_host: Annotated[
        str, typer.Option(help="With --master: address to listen on for workers.")
    ] = "127.0.0.1",
    join: Annotated[
        Path | None,
        typer.Option(
            help="With --master or --worker: file with the keys by which workers join; a master makes it where there is"
            " none (default: LOADGEN_JOIN_MASTER, LOADGEN_JOIN_WORKER).",
            metavar="FILE",
        ),
    ] = None,
    max_cost: Annotated[
        float | None,
        typer.Option(
            help="Do not start a run that is estimated to cost more on AWS, and stop one that has.",
            metavar="USD",
            min=0,
        ),
    ] = None,
    prices: Annotated[
        Path | None,
        typer.Option(help="Prices and quotas of your own (YAML); see docs/prices.md.", metavar="FILE"),
    ] = None,
    report: Annotated[
        bool,
        typer.Option(help="Draw report.html; without, `loadgen report FOLDER` does at any later time."),
    ] = True,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before a run against a real target that costs money.")
    ] = False,
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
            help="Afterwards wait for CloudWatch's metrics of the run (some minutes) and set them beside ours.",
        ),
    ] = False,
    web: Annotated[bool, typer.Option(help="Show Locust's web UI and wait for its start button.")] = False,
    web_port: Annotated[int, typer.Option(help="Port of the web UI.", min=1, max=65535)] = 8089,
    prometheus: Annotated[
        str | None,
        typer.Option(
            help="Serve the run's metrics for Prometheus at /metrics; without a host on the loopback interface.",
            metavar="[HOST:]PORT",
        ),
    ] = None,
    allowed_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allowed-host",
            help="Further host name of the web UI and the Prometheus port.",
            metavar="NAME",
        ),
    ] = None,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel",
            help="Push the run's metrics as OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT (extra: live).",
        ),
    ] = False,
) -> None:
    """Run a scenario and report what was measured.

    Exit codes: 0 passed, 1 a gate failed, 2 usage or scenario error, 3 inconclusive, 4 target unreachable or refused,
    130 interrupted (what was recorded is kept and reported).
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
    protocol: Annotated[bool, typer.Option("--protocol", help="That of protocol files.")] = False,
) -> None:
    """Print the JSON Schema of scenario files, for editors."""
    if protocol:
        from loadgen import protocol_file

        print(json.dumps(protocol_file.json_schema(), indent=2))
        return
    from loadgen.scenario import json_schema

    print(json.dumps(json_schema(), indent=2))


class ReportFormat(Enum):
    """What a report is written as."""

    HTML = "html"
    PDF = "pdf"
    MD = "md"


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="A run's folder.")],
    format_: Annotated[
        ReportFormat, typer.Option("--format", help="html: report.html; pdf: report.pdf; md: summary.md.")
    ] = ReportFormat.HTML,
) -> None:
    """Make summary and report of a run's folder anew."""
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
        list[str] | None, typer.Option(help="Run only this case, repeatable.", metavar="NAME")
    ] = None,
    deliveries: Annotated[
        int, typer.Option(help="Deliveries of the ledger case, about.", min=10_000)
    ] = 1_050_000,
    seconds: Annotated[int, typer.Option(help="Seconds to measure in each other case.", min=3)] = 10,
    results: Annotated[
        Path | None, typer.Option(help="Keep runs and journals here; default: a temporary folder.")
    ] = None,
) -> None:
    """Check the harness against a server that injects faults and writes down which: prints a table.

    Exit codes: 0 every line agrees, 3 one does not, 130 interrupted.
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
        # A log has no width; the table needs some.
        console = Console(highlight=False, width=150)
    code = runner.calibrate(chosen, results or runner.default_results(), console)
    raise typer.Exit(int(code))


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)
