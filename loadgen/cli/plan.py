"""`loadgen plan`: what a scenario costs and needs, without running it."""

import json
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from loadgen.cli.app import app, fail
from loadgen.exits import ExitCode
from loadgen.planning.operations import Handler

PricesOption = Annotated[
    Path | None,
    typer.Option(
        help="Prices and quotas of your own (YAML), as of another region; default: those of docs/prices.md.",
        metavar="FILE",
    ),
]


class PlanFormat(Enum):
    """How a plan is shown."""

    TABLE = "table"
    JSON = "json"
    MD = "md"


@app.command()
def plan(
    scenario: Annotated[
        str | None, typer.Argument(help="A name of the catalogue (see `loadgen scenarios`) or a YAML file.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Override a value, such as clients.readers.count=100.", metavar="KEY=VALUE"
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="URL of another target than the scenario's: its protocol's rules apply.", metavar="URL"
        ),
    ] = None,
    format_: Annotated[PlanFormat, typer.Option("--format", help="How to show it.")] = PlanFormat.TABLE,
    prices: PricesOption = None,
    handler: Annotated[
        list[Handler] | None,
        typer.Option(help="Count the invocations of a handler that the namespaces have, repeatable."),
    ] = None,
    machine_cpus: Annotated[
        int | None,
        typer.Option(help="CPUs of a machine that workers would run on; default: as here.", min=1),
    ] = None,
    machine_gb: Annotated[
        float | None, typer.Option(help="Its memory in GB; default: as here.", metavar="GB", min=0.1)
    ] = None,
    machine_usd: Annotated[
        float | None, typer.Option(help="What one costs an hour, in US dollars.", metavar="USD", min=0)
    ] = None,
    target_addresses: Annotated[
        int, typer.Option(help="Addresses that the target's name resolves to.", min=1)
    ] = 1,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Measure first what a worker process of this machine carries (about a minute).",
        ),
    ] = False,
) -> None:
    """Say what a scenario costs, how near it comes to the service's quotas, and what it needs of this machine.

    Nothing is run, but for --calibrate, which loads this machine alone and keeps what it finds for later plans.

    Exit codes: 0, 2 usage or scenario error, 3 the machine could not be measured.
    """
    from loadgen.planning.calibration import load_calibration
    from loadgen.planning.estimate import estimate, this_kind
    from loadgen.planning.prices import load_prices
    from loadgen.planning.show import markdown, print_plan
    from loadgen.resolve.resolver import protocol_for, resolve
    from loadgen.scenario import ScenarioError, load, overrides_of

    if scenario is None and not calibrate:
        fail("name a scenario of the catalogue (see `loadgen scenarios`) or a YAML file, or give --calibrate")
    try:
        known = load_prices(prices)
        model = None if scenario is None else load(scenario, overrides_of(overrides or ()), target=target)
    except ScenarioError as error:
        fail(str(error))
    if calibrate:
        _calibrate()
    if model is None:
        return
    kept, why = load_calibration()
    protocol = protocol_for(model, target)
    unpriced = None if protocol.priced else protocol.title
    machines = this_kind()
    if machine_cpus is not None:
        machines = replace(machines, cpus=machine_cpus)
    if machine_gb is not None:
        machines = replace(machines, memory_bytes=machine_gb * 1e9)
    machines = replace(machines, usd_per_hour=machine_usd, target_addresses=target_addresses)
    found = estimate(resolve(model, target), known, frozenset(handler or ()), kept, why, unpriced, machines)
    match format_:
        case PlanFormat.JSON:
            print(json.dumps(found.to_dict(), indent=1))
        case PlanFormat.MD:
            print(markdown(found), end="")
        case PlanFormat.TABLE:
            console = Console(highlight=False)
            if not console.is_terminal:
                # A log has no width; the tables need some.
                console = Console(highlight=False, width=100)
            print_plan(found, console)


def _calibrate() -> None:
    """Measure this machine and keep the figures; exits where that cannot be."""
    from loadgen.planning.calibration import CalibrationError, measure, save

    console = Console(stderr=True, highlight=False)
    try:
        measured = measure(lambda what: console.print(Text(f"calibrating {what}", "dim")))
    except CalibrationError as error:
        fail(f"this machine could not be measured: {error}", ExitCode.INCONCLUSIVE)
    try:
        path = save(measured)
    except OSError as error:
        fail(
            f"the calibration cannot be kept: {error.filename or ''} {error.strerror or error}".replace(
                "  ", " "
            )
        )
    console.print(
        Text(
            f"a delivery takes {measured.cpu_s_per_delivery * 1e6:.1f} µs of CPU, a publish"
            f" {measured.cpu_s_per_http_publish * 1e6:.0f} µs by HTTP and"
            f" {measured.cpu_s_per_websocket_publish * 1e6:.0f} µs over WebSocket, a subscriber"
            f" {measured.rss_bytes_per_subscriber / 1e3:.1f} KB, connecting one"
            f" {measured.cpu_s_per_connect * 1e6:.0f} µs; the record of a delivery"
            f" {measured.record_bytes_per_delivery:.1f} bytes; receive path:"
            f" {measured.machine['receive path']}; kept in {path}"
        ),
        soft_wrap=True,
    )
