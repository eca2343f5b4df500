"""`loadgen verify`: what was written down against the record that it was made from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.cli.app import app, fail
from loadgen.exits import ExitCode

if TYPE_CHECKING:
    from analysis.verify.compared import Verification


@app.command()
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            help="A run's folder, a capacity-… folder, or a file that `loadgen compare --json` or `--html` wrote."
        ),
    ],
) -> None:
    """Recompute every number of a report, capacity search or comparison from the tables, and compare.

    The chief figures are also computed a second way, in SQL. A figure that an older version did not write is named as
    not there, and is no error. Exit codes: 0 all that is there agrees, 2 usage (or the record cannot be read), 3
    something disagrees.
    """
    from analysis import text
    from analysis.loading.run import RunError
    from analysis.verify.compared import conclusion, sentences
    from loadgen.capacity.record import RecordError

    try:
        found = _verified(path)
    except (RunError, RecordError) as error:
        # One line: pyarrow's own words, which may be in it, are many.
        fail(text.clean(" ".join(str(error).split())))
    for line in sentences(found):
        print(line)
    print(conclusion(found))
    raise typer.Exit(0 if found.agrees else int(ExitCode.INCONCLUSIVE))


def _verified(path: Path) -> "Verification":
    from analysis.loading.run import load
    from analysis.verify import check, comparison
    from loadgen.capacity import record
    from loadgen.capacity import verify as capacity

    if path.is_file():
        return comparison.verify(path)
    if (path / record.NAME).exists() and not (path / "manifest.json").exists():
        return capacity.verify(path)
    return check.verify(load(path))
