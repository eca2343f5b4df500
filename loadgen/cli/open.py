"""`loadgen open`: open a run's report."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli.app import app, fail
from loadgen.run.placement import LATEST

#: The report of a run, and the report of a capacity search.
_PAGES = ("report.html", "capacity.html")


@app.command(name="open")
def open_(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Folder of a run or search; default: the newest run, results/latest.", metavar="RUN"
        ),
    ] = None,
    results: Annotated[
        Path, typer.Option(help="Folder of runs, of which the newest is opened.", metavar="FOLDER")
    ] = Path("results"),
) -> None:
    """Open a run's report in the browser.

    If there is no browser, the path of the report is printed.

    Exit codes: 0 opened or path printed, 2 there is no report.
    """
    folder = run or results / LATEST
    pages = [folder] if folder.suffix == ".html" else [folder / name for name in _PAGES]
    page = next((each for each in pages if each.is_file()), None)
    if page is None:
        if not folder.exists():
            fail(f"there is no run {folder}: make one with `loadgen run comments`, or name its folder")
        fail(f"{folder} has no report.html: `loadgen report {folder}` writes it")
    page = page.resolve()
    print(f"report: {page}")
    webbrowser.open(page.as_uri())
