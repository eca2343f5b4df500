"""`loadgen notebook`: execute an analysis notebook on a run."""

import shutil
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli.app import app, fail


@app.command()
def notebook(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    name: Annotated[
        str,
        typer.Argument(help="Notebook: throughput, percentiles, fan-out, capacity, comparison or all."),
    ] = "all",
    base: Annotated[
        Path | None, typer.Option(help="For comparison: run, folder of runs or baseline file.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the notebook in JupyterLab instead.")] = False,
) -> None:
    """Execute a notebook on a run.

    A copy with the outputs is written to the run's folder.

    Exit codes: 0 executed, 2 usage, no Jupyter, or a cell failed.
    """
    from analysis import extras
    from analysis.loading.run import ReadError, load
    from analysis.notebooks import FOLDER, NAMES, NotebookError, environment, execute

    names = NAMES if name == "all" else (name,)
    if unknown := set(names) - set(NAMES):
        fail(f"there is no notebook {min(unknown)!a}: known are {', '.join(NAMES)} and all")
    try:
        load(run)
    except ReadError as error:
        fail(str(error))
    if open_:
        lab = shutil.which("jupyter-lab")
        if lab is None:
            fail(f"JupyterLab is not installed: {extras.installer()} jupyterlab")
        variables = {"LOADGEN_RUN": str(run.resolve())} | (
            {"LOADGEN_BASE": str(base.resolve())} if base else {}
        )
        path = FOLDER / f"{names[0]}.ipynb"
        # Jupyter runs code from configuration files in its working directory, so use a folder of our own.
        raise typer.Exit(subprocess.call([lab, str(path)], env=environment(variables), cwd=FOLDER))  # noqa: S603
    for each in names:
        try:
            print(execute(each, run, base))
        except NotebookError as error:
            fail(str(error))
