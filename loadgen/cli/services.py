"""`loadgen plan --services`: show what a load costs at several services."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

from analysis.console import screen
from loadgen.cli.app import fail
from loadgen.config.problems import ScenarioError
from loadgen.planning.operations import Handler
from loadgen.resolve import ResolvedRun

if TYPE_CHECKING:
    from loadgen.planning.services.load import Load, Month

#: Width of the tables, in characters, if the output goes to a log or a pipe.
_COLUMNS: Final = 180


@dataclass(frozen=True, slots=True)
class Numbers:
    """A load given as options on the command line instead of a scenario; an option that is not given is None."""

    clients: int | None
    rate: str | None
    fan_out: float | None
    event_size: str | None
    channels: int | None
    subscriptions: int | None
    over_websocket: bool

    @property
    def given(self) -> list[str]:
        """The options given on the command line, such as `--clients`."""
        return [f"--{name.replace('_', '-')}" for name in self.__slots__ if getattr(self, name)]


@dataclass(frozen=True, slots=True)
class MonthOptions:
    """Options that say how much a service is used in a month; an option that is not given is None."""

    hours_per_day: float | None
    days: float | None
    connects_per_day: float | None
    users: int | None

    @property
    def given(self) -> list[str]:
        """The options given on the command line, such as `--hours-per-day`."""
        return [f"--{name.replace('_', '-')}" for name in self.__slots__ if getattr(self, name) is not None]


def compare(
    services: str,
    run: ResolvedRun | None,
    numbers: Numbers,
    month: MonthOptions,
    prices: Sequence[Path],
    handlers: Iterable[Handler],
    format_: str,
    plot: Path | None,
) -> None:
    """Print the costs of a scenario, or of a load given as numbers, at each service; ``plot`` is a file for a chart.

    Raises:
        ScenarioError: a service, file or number is not valid.
        Exit: an option is missing, or the picture cannot be written.
    """
    from loadgen.planning.services import costing, crossings, show
    from loadgen.planning.services.load import AXES, DAYS_A_MONTH, Month
    from loadgen.planning.services.models import exact

    of_month = Month(
        Fraction(24) if month.hours_per_day is None else exact(month.hours_per_day),
        DAYS_A_MONTH if month.days is None else exact(month.days),
        Fraction(1) if month.connects_per_day is None else exact(month.connects_per_day),
        None if month.users is None else Fraction(month.users),
    )
    load: Load
    if run is not None:
        from loadgen.planning.services.scenario import load_of

        if numbers.given:
            fail(
                f"{numbers.given[0]} is for a load without a scenario: change the scenario with --set instead"
            )
        load = load_of(run, of_month, frozenset(handlers))
    else:
        load = _of_numbers(numbers, of_month)
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        fail(f"--plot: the name of the picture must end in .png or .svg, not {plot.name!a}")
    if plot is not None and not plot.parent.is_dir():
        fail(f"--plot: there is no folder {str(plot.parent)!a} for the picture")
    costings = costing.costings(load, services, prices)
    curves = [crossings.curves(costings, axis) for axis in AXES]
    found = [each for along in curves for each in crossings.of_curves(along)]
    if plot is not None:
        from loadgen.planning.services.plot import draw, save

        try:
            save(draw(load, curves, found), plot)
        except OSError as error:
            fail(f"the picture {str(plot)!a} cannot be written: {error.strerror or error}")
    if format_ == "json":
        print(json.dumps(show.to_dict(load, costings, found), indent=1))
    elif format_ == "md":
        print(show.markdown(load, costings, found), end="")
    else:
        show.print_services(load, costings, found, screen(log_columns=_COLUMNS))


def _of_numbers(numbers: Numbers, month: "Month") -> "Load":
    from pydantic_core import PydanticCustomError

    from loadgen.config.units import parse_size, rate_parser
    from loadgen.planning.services.load import of_numbers
    from loadgen.planning.services.models import exact

    needed = {
        "--clients": numbers.clients,
        "--rate": numbers.rate,
        "--fan-out": numbers.fan_out,
        "--event-size": numbers.event_size,
    }
    missing = [name for name, value in needed.items() if value is None]
    if missing:
        fail(
            "name a scenario of the catalogue (see `loadgen scenarios`) or a YAML file, or describe the load by"
            f" --clients, --rate, --fan-out and --event-size; {missing[0]} is missing"
        )
    assert numbers.clients is not None
    assert numbers.fan_out is not None
    try:
        rate = rate_parser("events", "100/s")(numbers.rate)
    except PydanticCustomError as error:
        raise ScenarioError([f"--rate {error.message()}"]) from None
    try:
        size = parse_size(numbers.event_size)
    except PydanticCustomError as error:
        raise ScenarioError([f"--event-size {error.message()}"]) from None
    return of_numbers(
        clients=Fraction(numbers.clients),
        events_per_s=exact(rate).limit_denominator(10**9),
        fan_out=exact(numbers.fan_out),
        event_bytes=size,
        subscriptions=Fraction(1 if numbers.subscriptions is None else numbers.subscriptions),
        channels=None if numbers.channels is None else Fraction(numbers.channels),
        over_http=not numbers.over_websocket,
        month=month,
        name=f"{numbers.clients:,} clients, {numbers.rate}, {numbers.event_size} events",
    )
