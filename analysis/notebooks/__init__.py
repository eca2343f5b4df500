"""Notebooks on runs: execute one with `loadgen notebook RUN NAME`, or open it in any Jupyter.

The notebooks are committed with their outputs for the sample data (`samples/`). The first cell of each opens the data
that the environment variables LOADGEN_RUN and LOADGEN_BASE name, or else the sample data (`analysis.notebooks.begin`).
"""

import shutil
from pathlib import Path
from typing import NamedTuple

from analysis import extras
from analysis.notebooks.errors import NotebookError
from analysis.record import files, revisions
from analysis.record.revisions import Maker

__all__ = [
    "FOLDER",
    "NAMES",
    "JupyterMissingError",
    "NotebookError",
    "Shown",
    "copy",
    "environment",
    "execute",
    "shown",
]

FOLDER = Path(__file__).parent
NAMES = ("throughput", "percentiles", "fan-out", "losses", "clocks", "capacity", "comparison")
_TIMEOUT_S = 600


class JupyterMissingError(NotebookError):
    """Jupyter is not installed."""

    def __init__(self) -> None:
        super().__init__(extras.sentence("notebooks", "a notebook"))


class Shown(NamedTuple):
    """An executed notebook: the version of loadgen that made it, and the text of each output (plots have none).

    `base` is the folder of the second run, for a notebook that compares two runs, or None.
    """

    base: Path | None
    maker: Maker
    texts: list[str]


def copy(into: Path) -> list[Path]:
    """Copy the notebooks, with their outputs for the sample data, into a folder; return the copies' paths.

    Raises:
        NotebookError: one of them is in the folder already, or cannot be written.
    """
    targets = [into / f"{name}.ipynb" for name in NAMES]
    if taken := [path for path in targets if path.exists()]:
        raise NotebookError(f"{taken[0]} exists already: name another folder")
    try:
        into.mkdir(parents=True, exist_ok=True)
        for path in targets:
            shutil.copyfile(FOLDER / path.name, path)
    except OSError as error:
        raise NotebookError(f"the notebooks cannot be copied to {into}: {error.strerror or error}") from None
    return targets


def execute(name: str, run: Path | None, base: Path | None = None, into: Path | None = None) -> Path:
    """Execute a notebook on a run, or on the sample if ``run`` is None; return the path of the copy with its outputs.

    The copy is in the folder ``into``, or by default in ``notebooks`` of the run's folder. For the notebook `capacity`,
    ``run`` may also be the folder of a capacity search.

    Raises:
        NotebookError: Jupyter is not installed, or a cell failed.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
    except ImportError:
        raise JupyterMissingError from None
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    # Run in the folder of loadgen's own notebooks, so that nothing in the user's working directory is imported or read.
    client = NotebookClient(
        notebook,
        timeout=_TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        # Merge the lines that a cell prints into one output: otherwise their number depends on timing.
        coalesce_streams=True,
        resources={"metadata": {"path": str(FOLDER)}},
    )
    # Set both variables, if necessary to an empty text (not set), so that neither comes from the user's environment.
    variables = {"LOADGEN_RUN": _absolute(run), "LOADGEN_BASE": _absolute(base)}
    try:
        client.execute(env=environment(variables))
    except CellExecutionError as error:
        raise NotebookError(f"notebook {name} failed: {error.ename}: {error.evalue}") from None
    if into is None:
        assert run is not None, "where should the copy be?"
        into = run / "notebooks" if run.is_dir() else run.parent / "notebooks"
    folder = into
    files.folder(folder)
    notebook.metadata["loadgen"] = {"base": variables["LOADGEN_BASE"] or None, "made_by": revisions.made_by()}
    target = folder / f"{name}.ipynb"
    with files.replacing(target) as temporary:
        temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    return target


def shown(path: Path) -> Shown:
    """Return the outputs of an executed notebook.

    Raises:
        NotebookError: Jupyter is not installed, or the file is not a notebook.
    """
    try:
        import nbformat
    except ImportError:
        raise JupyterMissingError from None
    try:
        notebook = nbformat.read(path, as_version=4)
        texts = []
        for cell in notebook.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if not any(kind.startswith("image/") for kind in data):
                    texts.append("".join(data.get("text/plain", output.get("text", ""))))
        said = notebook.metadata.get("loadgen", {})
        base = said.get("base")
        return Shown(None if base is None else Path(base), revisions.maker_of(said), texts)
    except Exception as error:
        # Catch every exception: the file may hold anything, and nbformat may raise anything.
        raise NotebookError(f"it cannot be read: {type(error).__name__}") from None


def _absolute(path: Path | None) -> str:
    return "" if path is None else str(path.resolve())


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return environment variables that keep Jupyter and its kernels from importing files of the working directory."""
    import os

    # Let the Jupyter kernel import `analysis` from where this process imported it, installed or not.
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(FOLDER.parents[1]), *(path for path in named if Path(path).is_absolute())]
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
