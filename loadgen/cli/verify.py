"""`loadgen verify`: check published figures against the record that they were made from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadgen.cli.app import PartsFromOption, app, fail, trust_parts
from loadgen.exits import ExitCode

if TYPE_CHECKING:
    from analysis.verify.compared import Verification


@app.command()
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            help="Run folder, capacity-… folder, or file of `loadgen compare --json` or `--html`."
        ),
    ],
    parts_from: PartsFromOption = None,
) -> None:
    """Recompute and check every number of a report.

    Works for a run, a capacity search or a comparison. All figures are computed from the record's tables, and the main
    figures a second time in SQL. A figure that an older version of loadgen did not write is listed as missing. A
    missing figure is no error.

    Exit codes: 0 all figures agree, 2 usage, or the record cannot be read, 3 a figure disagrees.
    """
    from analysis import extras, text
    from analysis.console import print_line

    extras.require("verify", "loadgen verify")
    trust_parts(parts_from)
    from analysis.loading.run import ReadError
    from analysis.verify.compared import conclusion, sentences
    from loadgen.capacity.record import RecordError

    try:
        found = _verified(path)
    except (ReadError, RecordError) as error:
        # Print the message on one line, since pyarrow's messages have several lines.
        fail(text.clean(" ".join(str(error).split())))
    for line in sentences(found):
        print_line(line)
    print_line(conclusion(found))
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
