"""`loadgen plan`: estimate what a scenario costs and needs, without running it."""

import json
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from analysis.console import screen
from loadgen.cli.app import OverridesOption, app, fail
from loadgen.exits import ExitCode
from loadgen.planning.operations import Handler

PricesOption = Annotated[
    Path | None,
    typer.Option(
        help="Your own prices and quotas (YAML), such as another region's; default: those in docs/prices.md.",
        metavar="FILE",
    ),
]


class PlanFormat(Enum):
    """Output format of a plan."""

    TABLE = "table"
    JSON = "json"
    MD = "md"


@app.command()
def plan(
    scenario: Annotated[
        str | None, typer.Argument(help="Catalogue name (see `loadgen scenarios`) or YAML file.")
    ] = None,
    overrides: OverridesOption = None,
    target: Annotated[
        str | None,
        typer.Option(help="Target URL to plan for instead of the scenario's own.", metavar="URL"),
    ] = None,
    format_: Annotated[PlanFormat, typer.Option("--format", help="Output format.")] = PlanFormat.TABLE,
    prices: PricesOption = None,
    handler: Annotated[
        list[Handler] | None,
        typer.Option(help="Count invocations of this handler of the namespaces; repeatable."),
    ] = None,
    machine_cpus: Annotated[
        int | None,
        typer.Option(help="CPUs of each worker machine; default: this machine's.", min=1),
    ] = None,
    machine_gb: Annotated[
        float | None,
        typer.Option(help="Memory of each worker machine; default: this machine's.", metavar="GB", min=0.1),
    ] = None,
    machine_usd: Annotated[
        float | None, typer.Option(help="Price of a machine per hour, in US dollars.", metavar="USD", min=0)
    ] = None,
    target_addresses: Annotated[
        int, typer.Option(help="Number of addresses the target's name resolves to.", min=1)
    ] = 1,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="First measure a worker process on this machine (about a minute).",
        ),
    ] = False,
) -> None:
    """Estimate a scenario's cost, use of quotas, and machines.

    Nothing is run, except with --calibrate, which loads only this machine and keeps the figures for later plans.

    Exit codes: 0 planned, 2 usage or scenario error, 3 the machine could not be measured.
    """
    from loadgen.planning.calibration import load_calibration
    from loadgen.planning.estimate import estimate, this_kind
    from loadgen.planning.prices import load_prices
    from loadgen.planning.show import markdown, print_estimate
    from loadgen.resolve.checks import protocol_for
    from loadgen.resolve.resolver import planned
    from loadgen.scenario import ScenarioError

    if scenario is None and not calibrate:
        fail("name a scenario of the catalogue (see `loadgen scenarios`) or a YAML file, or give --calibrate")
    try:
        known = load_prices(prices)
        found = None if scenario is None else planned(scenario, overrides or (), target)
    except ScenarioError as error:
        fail(str(error))
    if calibrate:
        _calibrate()
    if found is None:
        return
    model, resolved = found
    kept, why = load_calibration()
    protocol = protocol_for(model, target)
    unpriced = None if protocol.priced else protocol.title
    machines = this_kind()
    if machine_cpus is not None:
        machines = replace(machines, cpus=machine_cpus)
    if machine_gb is not None:
        machines = replace(machines, memory_bytes=machine_gb * 1e9)
    machines = replace(machines, usd_per_hour=machine_usd, target_addresses=target_addresses)
    estimated = estimate(resolved, known, frozenset(handler or ()), kept, why, unpriced, machines)
    match format_:
        case PlanFormat.JSON:
            print(json.dumps(estimated.to_dict(), indent=1))
        case PlanFormat.MD:
            print(markdown(estimated), end="")
        case PlanFormat.TABLE:
            print_estimate(estimated, screen(log_columns=100))


def _calibrate() -> None:
    """Measure this machine and keep the figures, or exit with an error."""
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
