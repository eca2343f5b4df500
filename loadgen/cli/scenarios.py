"""`loadgen scenarios`: list the catalogue, or explain one scenario."""

import json
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from analysis.console import screen
from loadgen.cli.app import app, fail

if TYPE_CHECKING:
    from loadgen.planning.catalogue import Portrait, Rate
    from loadgen.resolve.publishing import Publishing

_WIDTH = 100
#: Headings and widths of the list's columns. The widths add up to less than 80 characters. A negative width aligns
#: left.
_COLUMNS = (
    ("scenario", -19),
    ("clients", 8),
    ("events/s", 16),
    ("deliveries/s", 20),
    ("takes", 7),
    ("gates", 6),
)
_POINTS_SHOWN = 8


class ScenariosFormat(Enum):
    """Output format of `loadgen scenarios`."""

    TEXT = "text"
    JSON = "json"


@app.command()
def scenarios(
    name: Annotated[
        str | None, typer.Argument(help="Scenario to explain: catalogue name or YAML file.")
    ] = None,
    format_: Annotated[
        ScenariosFormat, typer.Option("--format", help="Output format.")
    ] = ScenariosFormat.TEXT,
    copy: Annotated[
        Path | None,
        typer.Option(help="Copy the scenario and the files that belong to it.", metavar="FOLDER"),
    ] = None,
) -> None:
    """List the catalogue's scenarios, or explain or copy one.

    The explanation has the question that the scenario answers, its clients, load, phases and gates, and the command
    that runs it.

    Exit codes: 0 shown or copied, 2 no such scenario, or it is not valid.
    """
    from loadgen.planning.catalogue import portrait
    from loadgen.resolve.loading import catalogue
    from loadgen.scenario import ScenarioError, find

    if copy is not None:
        _copy(name, copy)
        return
    try:
        if name is None:
            found = [portrait(entry.name, entry.path) for entry in catalogue()]
        else:
            found = [portrait(name, find(name))]
    except ScenarioError as error:
        fail(str(error))
    if format_ is ScenariosFormat.JSON:
        shown: Any = [each.to_dict() for each in found]
        print(json.dumps(shown if name is None else shown[0], indent=1, ensure_ascii=False))
        return
    console = screen(log_columns=_WIDTH)
    if name is None:
        _list(found, console)
    else:
        _explain(found[0], console)


def _copy(name: str | None, folder: Path) -> None:
    from loadgen.scenario import ScenarioError
    from loadgen.scenario.copying import copy

    if name is None:
        fail("name the scenario to copy")
    try:
        for path in copy(name, folder):
            print(path)
    except ScenarioError as error:
        fail(str(error))


def _list(portraits: "list[Portrait]", console: Console) -> None:
    console.print(Text(_row([head for head, _ in _COLUMNS]), "bold"), soft_wrap=True)
    for each in portraits:
        cells = [
            each.scenario.name,
            f"{each.run.totals.clients:,}",
            _rate(None if each.run.journeys else each.events),
            _rate(each.deliveries),
            _long(each.seconds),
            str(len(each.scenario.gates) or "none"),
        ]
        row = Text(_row(cells))
        row.stylize("bold", 0, len(each.scenario.name))
        console.print(row, soft_wrap=True)
        console.print(_indented(each.scenario.description))
        if each.question is not None:
            console.print(_indented(each.question, "italic"))
    console.print()
    console.print(Text("`loadgen scenarios NAME` explains one, `loadgen run NAME` runs it.", "dim"))


def _row(cells: list[str]) -> str:
    return "".join(
        f"{cell:<{-width}}" if width < 0 else f"{cell:>{width}}"
        for cell, (_, width) in zip(cells, _COLUMNS, strict=True)
    ).rstrip()


def _explain(each: "Portrait", console: Console) -> None:
    from analysis.text import printable

    scenario = each.scenario
    console.print(Text(scenario.name, "bold"))
    console.print(Padding(Text(_plain(str(each.path)), "dim"), (0, 0, 0, 2), expand=False))
    console.print(_indented(scenario.description))
    for paragraph in each.comments:
        console.print()
        for line in paragraph.split("\n"):
            console.print(_indented(str(printable(line)), keep=True))
    _head(console, "clients")
    for line in _groups(each):
        console.print(_indented(line))
    _head(console, "load")
    for line in _load(each, console):
        console.print(_indented(line, keep=True))
    _head(console, "phases")
    phases = {key: _written(value) for key, value in scenario.resolved()["phases"].items()}
    console.print(_indented(", ".join(f"{key} {value}" for key, value in phases.items())))
    _head(console, "gates")
    for gate in scenario.resolved().get("gates", ["none: the run passes if it could be measured"]):
        console.print(_indented(_written(gate)))
    if warnings := each.run.warnings:
        _head(console, "warnings")
        for warning in warnings:
            console.print(_indented(warning, "yellow"))
    _head(console, "run it")
    # Commands are not wrapped, so that they can be copied.
    console.print(Text(f"  {each.command}"), soft_wrap=True)
    planning = each.command.replace("loadgen run", "loadgen plan", 1)
    console.print(Text(f"  {planning}  (what it costs)"), soft_wrap=True)


def _head(console: Console, what: str) -> None:
    console.print()
    console.print(Text(what, "bold"))


def _groups(each: "Portrait") -> Iterator[str]:
    from loadgen.config.units import format_rate

    subscribers = {load.name: load.subscribers for load in each.loads}
    resolved = each.scenario.resolved()
    for key, variable in resolved.get("variables", {}).items():
        yield f"{{{key}}}: {_written(variable)}"
    for key, data in each.scenario.data.items():
        rows = f"{data.first:,} row{'' if data.first == 1 else 's'}" if data.first is not None else "rows"
        yield f"{{{key}.…}}: {rows} of {_written(data.file)}, {data.assign}"
    for name, group in each.scenario.clients.items():
        parts = [f"{group.count:,} client{'s' if group.count > 1 else ''}"]
        if group.subscribe:
            parts.append("subscribe to " + ", ".join(group.subscribe))
        if group.users is not None:
            parts.append(f"run the tasks of {group.users}")
        if (publish := group.publish) is not None:
            rate = format_rate(publish.events_per_s(group.count)).replace("/s", " events/s")
            batch = f", {publish.batch} to a request" if publish.batch > 1 else ""
            way = "HTTP" if each.run.publishing[name].over_http else "WebSocket"
            arrival = resolved["clients"][name]["publish"]["arrival"]
            parts.append(
                f"publish {rate} of {_size(each.run.publishing[name])} to {publish.channel} over {way}"
                f"{batch}, arrival {_written(arrival)}"
            )
            reached = subscribers.get(name)
            parts.append(
                "how many an event reaches is not known"
                if reached is None
                else f"each event reaches {reached:,.1f} subscribers on average"
            )
        if group.respond is not None:
            parts.append(f"respond {_written(resolved['clients'][name]['respond'])}")
        parts += [
            f"{key} {_written(resolved['clients'][name][key])}"
            for key in ("reconnect", "drops", "churn", "slow")
            if key in resolved["clients"][name]
        ]
        yield f"{name}: " + "; ".join(parts)


def _size(publish: "Publishing") -> str:
    from loadgen.config.units import format_size

    if not publish.sizes:
        return format_size(publish.payload_bytes)
    return f"{format_size(publish.payload_bytes)} on average, at most {format_size(publish.most_bytes)},"


def _load(each: "Portrait", console: Console) -> Iterator[str]:
    from loadgen.planning.catalogue import sparkline

    if each.run.journeys:
        yield "what the users publish and receive depends on their code"
        if not each.run.publishing:
            yield f"about {_long(each.seconds)} in all, and the time until subscriptions are ready"
            return
        yield "the other groups:"
    if each.steady:
        yield f"steady: {each.events.mean:,.4g} events/s, {_rate(each.deliveries)} deliveries/s"
    else:
        plain = "utf" not in console.encoding.lower()
        column = each.scenario.phases.measure_ns / 1e9 / len(each.curve)
        yield sparkline(each.curve, plain=plain)
        yield f"events/s over the measure phase; a column is the mean of {column:,.3g} s"
        for name, group in each.scenario.resolved()["clients"].items():
            if "profile" in group.get("publish", {}):
                yield f"{name}: {_written(group['publish']['profile'])}"
        yield f"mean {each.events.mean:,.4g} events/s, at most {each.events.peak:,.4g}"
        if each.deliveries is not None:
            yield f"mean {each.deliveries.mean:,.0f} deliveries/s, at most {each.deliveries.peak:,.0f}"
    yield f"about {_long(each.seconds)} in all, and the time until subscriptions are ready"


def _rate(rate: "Rate | None") -> str:
    if rate is None:
        return "–"
    mean = f"{rate.mean:,.0f}" if rate.mean >= 100 else f"{rate.mean:.3g}"
    if rate.peak <= rate.mean * (1 + 1e-9):
        return mean
    return f"{mean}, max " + (f"{rate.peak:,.0f}" if rate.peak >= 100 else f"{rate.peak:.3g}")


def _long(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _written(value: Any) -> str:
    """Return a value of a scenario as YAML on one line, with long lists cut."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_written(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        more = f", … {len(value) - _POINTS_SHOWN} more" if len(value) > _POINTS_SHOWN else ""
        return "[" + ", ".join(_written(each) for each in value[:_POINTS_SHOWN]) + more + "]"
    return str(value)


def _plain(content: str) -> str:
    """Return foreign text on one line, without characters that a terminal would interpret."""
    from analysis.text import printable

    return " ".join(str(printable(content)).split())


def _indented(content: str, style: str = "", *, keep: bool = False) -> Padding:
    return Padding(Text(content if keep else _plain(content), style), (0, 0, 0, 2), expand=False)
