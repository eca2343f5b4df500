"""`loadgen notebook`: execute, copy or open the analysis notebooks."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli.app import PartsFromOption, app, fail, trust_parts


@app.command()
def notebook(
    run: Annotated[
        Path | None, typer.Argument(help="Run folder, or for capacity the folder of a search.")
    ] = None,
    name: Annotated[
        str,
        typer.Argument(
            help="Notebook: throughput, percentiles, fan-out, losses, clocks, capacity, comparison or all."
        ),
    ] = "all",
    base: Annotated[
        Path | None, typer.Option(help="For comparison: run, folder of runs or baseline file.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open a copy in JupyterLab instead.")] = False,
    copy: Annotated[
        Path | None,
        typer.Option(
            "--copy", help="Copy all notebooks here, with what they show of the sample.", metavar="FOLDER"
        ),
    ] = None,
    parts_from: PartsFromOption = None,
) -> None:
    """Execute a notebook on a run.

    A copy with the outputs is written to the run's folder. `loadgen notebook --copy FOLDER` copies the notebooks for
    use in any Jupyter.

    Exit codes: 0 executed, 2 usage, no Jupyter, or a cell failed.
    """
    from analysis import notebooks

    trust_parts(parts_from)
    if copy is not None:
        if run is not None:
            fail("--copy needs no run: the first cell of a notebook names one")
        try:
            print(*notebooks.copy(copy), sep="\n")
        except notebooks.NotebookError as error:
            fail(str(error))
        return
    if run is None:
        fail("name a run: loadgen notebook results/latest percentiles")
    names = _names(run, name)
    if open_:
        raise typer.Exit(_open(run, names[0], base))
    for each in names:
        try:
            print(notebooks.execute(each, run, base))
        except notebooks.NotebookError as error:
            fail(str(error))


def _names(run: Path, name: str) -> tuple[str, ...]:
    """Return the notebooks to execute; end with an error if one is unknown or does not suit the folder."""
    from analysis.loading.run import ReadError, load
    from analysis.notebooks import NAMES
    from analysis.notebooks.begin import SEARCH_NAME

    names = NAMES if name == "all" else (name,)
    if unknown := set(names) - set(NAMES):
        fail(f"there is no notebook {min(unknown)!a}: known are {', '.join(NAMES)} and all")
    if (run / SEARCH_NAME).is_file():
        if name not in ("all", "capacity"):
            fail(f"{run} is a search for a limit: the notebook for it is capacity")
        return ("capacity",)
    try:
        load(run)
    except ReadError as error:
        fail(str(error))
    return names


def _open(run: Path, name: str, base: Path | None) -> int:
    """Open a copy of a notebook in JupyterLab; return its exit code when the user has closed it."""
    from analysis import extras
    from analysis.notebooks import NotebookError, copy, environment

    lab = shutil.which("jupyter-lab")
    if lab is None:
        fail(f"JupyterLab is not installed: {extras.installer()} jupyterlab")
    variables = {"LOADGEN_RUN": str(run.resolve()), "LOADGEN_BASE": str(base.resolve()) if base else ""}
    # Jupyter runs code from configuration files in its working directory, so start it in a new folder.
    folder = Path(tempfile.mkdtemp(prefix="loadgen-notebooks-"))
    try:
        copy(folder)
    except NotebookError as error:
        fail(str(error))
    print(f"the copies are in {folder}", flush=True)
    return subprocess.call([lab, f"{name}.ipynb"], env=environment(variables), cwd=folder)  # noqa: S603
