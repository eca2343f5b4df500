"""`loadgen choose`: one scenario on several services, side by side."""

import json
import re
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from analysis import extras
from analysis.console import screen
from loadgen.cli.app import OverridesOption, app, fail
from loadgen.console import say
from loadgen.exits import ExitCode

if TYPE_CHECKING:
    from loadgen.choose.conduct import Comparison

#: Width of the tables, in characters, if the output goes to a log or a pipe.
_COLUMNS: Final = 180


@app.command()
def choose(
    scenario: Annotated[
        str,
        typer.Argument(
            help="Catalogue name or YAML file; or the folder of an earlier comparison, to show it again."
        ),
    ],
    service: Annotated[
        list[str] | None,
        typer.Option(
            help="A service: a URL, or `appsync-events`, `appsync-graphql`, `api-gateway` or `mqtt` for one on this"
            " machine; in quotes with options of `loadgen run`, such as its login. Repeatable; default: all that"
            " this machine has.",
            metavar="SERVICE",
        ),
    ] = None,
    overrides: OverridesOption = None,
    repeats: Annotated[int, typer.Option(help="Runs on each service, in turns.", min=1, max=100)] = 1,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder to make; default: results/choice-TIME-SCENARIO.", metavar="FOLDER"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prices: Annotated[
        list[Path] | None,
        typer.Option(
            help="Your own prices of a service (YAML), see docs/services-prices.md; repeatable.",
            metavar="FILE",
        ),
    ] = None,
    hours_per_day: Annotated[
        float,
        typer.Option(help="Hours of use a day, for the month's cost.", metavar="HOURS", min=0.01, max=24),
    ] = 24.0,
    days: Annotated[
        float, typer.Option(help="Days of use a month.", metavar="DAYS", min=0.01, max=31)
    ] = 30.0,
    connects_per_day: Annotated[
        float, typer.Option(help="Connects of a client a day.", metavar="NUMBER", min=0, max=100_000)
    ] = 1.0,
) -> None:
    """Run a scenario on several services and show them side by side.

    The comparison shows latency and completeness with their bounds, cost, quotas, and the parts of the scenario that a
    service cannot run. It has no overall score. For example: `loadgen choose comments --service appsync-events
    --service "mqtts://HOST --auth password:USER_VARIABLE:PASSWORD_VARIABLE"`. For a name such as `appsync-events`, a
    server on this machine imitates the service, and the comparison marks it as an imitation.

    Exit codes: 0 each service has a run that is not invalid, 2 usage or the scenario can run on none, 3 a service has
    no such run.
    """
    extras.require("compare", "loadgen choose")
    from analysis.choose import content, outputs, page, record
    from analysis.loading.run import ReadError
    from analysis.record import files

    interrupted = False
    if (Path(scenario) / record.NAME).is_file():
        folder = Path(scenario)
    else:
        from loadgen.choose.conduct import Comparison
        from loadgen.planning.services.load import Month
        from loadgen.planning.services.models import exact

        folder = (
            output
            or Path("results") / f"choice-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{_slug(scenario)}"
        )
        month = Month(
            hours_per_day=exact(hours_per_day),
            days=exact(days),
            connects_per_day=Fraction(exact(connects_per_day)),
        )
        said = f"{hours_per_day:g} hours a day on {days:g} days, each client connects {connects_per_day:g} × a day"
        comparison = Comparison(
            scenario, tuple(overrides or ()), folder, month=month, month_said=said, prices=tuple(prices or ())
        )
        interrupted = _make(comparison, service or [], repeats)
    try:
        choice, found = content.columns(folder)
        path = page.write(folder, choice, found)
        files.output(folder / "choice.md", outputs.markdown(choice, found))
    except ReadError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror}")
    if as_json:
        print(json.dumps(content.as_json(choice, found), indent=1))
    else:
        outputs.show(screen(log_columns=_COLUMNS), choice, found)
        print(f"report: {path}")
    if interrupted:
        raise typer.Exit(int(ExitCode.INTERRUPTED))
    valid = all(any(run.verdict != "invalid" for run in column.runs) for column in found)
    raise typer.Exit(int(ExitCode.PASSED if valid else ExitCode.INCONCLUSIVE))


def _make(comparison: "Comparison", said: list[str], repeats: int) -> bool:
    """Make the runs, and return True if the user interrupted.

    Raises:
        Exit: a service or the scenario cannot be used, or the folder cannot be written.
    """
    from loadgen.choose.local import missing
    from loadgen.choose.services import LOCAL, ChoiceError, wanted
    from loadgen.config.problems import ScenarioError

    folder = comparison.folder
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            fail(f"{folder} is not an empty folder: choose another with --output")
        services = wanted(said or [name for name in LOCAL if missing(name) is None])
        comparison.prepare(services)
        comparison.run(services, repeats, say)
    except (ChoiceError, ScenarioError) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{folder} cannot be written: {error.strerror}")
    except KeyboardInterrupt:
        return True
    return False


def _slug(scenario: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(scenario).stem)[:40].strip("-") or "scenario"
