"""`loadgen plan`: estimate what a scenario costs and needs, without running it."""

import json
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from analysis.console import screen
from loadgen.cli.app import OverridesOption, app, fail
from loadgen.exits import ExitCode
from loadgen.planning.operations import Handler

PricesOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="Your own prices and quotas (YAML), such as another region's; default: those in docs/prices.md."
        " Repeatable with --services.",
        metavar="FILE",
    ),
]
_SERVICES: Final = "Several services"


def _of_services(help_: str, metavar: str | None = None, **limits: Any) -> Any:
    return typer.Option(help=help_, metavar=metavar, rich_help_panel=_SERVICES, **limits)


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
    services: Annotated[
        str | None, _of_services("Compare services: `all`, or names such as api-gateway,ably:mau.", "NAMES")
    ] = None,
    plot: Annotated[
        Path | None, _of_services("Also draw the costs as the load grows (.png or .svg).", "FILE")
    ] = None,
    hours_per_day: Annotated[
        float | None, _of_services("Hours of use a day; default: 24.", "HOURS", min=0.01, max=24)
    ] = None,
    days: Annotated[
        float | None, _of_services("Days of use a month; default: 365 / 12.", "DAYS", min=0.01, max=31)
    ] = None,
    connects_per_day: Annotated[
        float | None, _of_services("Connects of a client a day; default: 1.", "NUMBER", min=0, max=100_000)
    ] = None,
    users: Annotated[
        int | None, _of_services("Different users a month; default: the clients.", "NUMBER", min=0)
    ] = None,
    clients: Annotated[
        int | None, _of_services("Without a scenario: clients connected at once.", "NUMBER", min=1)
    ] = None,
    rate: Annotated[
        str | None, _of_services("Without a scenario: events published, such as 10/s.", "RATE")
    ] = None,
    fan_out: Annotated[
        float | None, _of_services("Without a scenario: deliveries of an event.", "NUMBER", min=0, max=1e9)
    ] = None,
    event_size: Annotated[
        str | None, _of_services("Without a scenario: size of an event, such as 200B or 1KiB.", "SIZE")
    ] = None,
    channels: Annotated[
        int | None, _of_services("Without a scenario: channels in use at once.", "NUMBER", min=0)
    ] = None,
    subscriptions: Annotated[
        int | None,
        _of_services("Without a scenario: subscriptions of a client; default: 1.", "NUMBER", min=0),
    ] = None,
    over_websocket: Annotated[
        bool,
        typer.Option(
            "--over-websocket",
            help="Without a scenario: clients publish over WebSocket instead of HTTP.",
            rich_help_panel=_SERVICES,
        ),
    ] = False,
) -> None:
    """Estimate a scenario's cost, use of quotas, and machines.

    Nothing is run, except that --calibrate puts load on this machine to measure it, and stores the figures for later
    plans. With --services, compare the costs and quotas of several services instead.

    Exit codes: 0 planned, 2 usage or scenario error, 3 the machine could not be measured.
    """
    from loadgen.cli.services import MonthOptions, Numbers, compare
    from loadgen.planning.calibration import load_calibration
    from loadgen.planning.estimate import estimate, this_kind
    from loadgen.planning.prices import load_prices
    from loadgen.planning.services.files import is_service_file
    from loadgen.planning.show import markdown, print_estimate
    from loadgen.resolve.checks import protocol_for
    from loadgen.resolve.resolver import planned
    from loadgen.scenario import ScenarioError

    numbers = Numbers(clients, rate, fan_out, event_size, channels, subscriptions, over_websocket)
    month = MonthOptions(hours_per_day, days, connects_per_day, users)
    if services is not None:
        if calibrate or machine_cpus or machine_gb or machine_usd:
            fail("--calibrate and --machine-… are for a plan of one service: leave out --services")
        try:
            named = None if scenario is None else planned(scenario, overrides or (), target)[1]
            compare(services, named, numbers, month, prices or (), handler or (), format_.value, plot)
        except ScenarioError as error:
            fail(str(error))
        return
    alone = [*numbers.given, *month.given, *(["--plot"] if plot is not None else [])]
    if alone:
        fail(f"{alone[0]} is for a comparison of services: add --services all")
    if len(prices or ()) > 1:
        fail("several --prices are for a comparison of services: add --services all")
    if prices and is_service_file(prices[0]):
        fail(
            f"{prices[0]}: is a service file, which only a comparison of services can use: add --services all"
        )
    if scenario is None and not calibrate:
        fail("name a scenario of the catalogue (see `loadgen scenarios`) or a YAML file, or give --calibrate")
    try:
        known = load_prices(prices[0] if prices else None)
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
    """Measure this machine and store the figures for later plans, or exit with an error."""
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
