"""Notebooks on a run: execute one with `loadgen notebook RUN NAME`, or open it in Jupyter with LOADGEN_RUN set."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis import extras
from analysis.record import files, revisions
from analysis.record.revisions import Maker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.loading.run import Run

FOLDER = Path(__file__).parent
NAMES = ("throughput", "percentiles", "fan-out", "capacity", "comparison")
_TIMEOUT_S = 600


class NotebookError(Exception):
    """A notebook cannot be executed or read; the message is one sentence."""


class JupyterMissingError(NotebookError):
    """Jupyter is not installed."""

    def __init__(self) -> None:
        super().__init__(extras.sentence("notebooks", "a notebook"))


class Shown(NamedTuple):
    """An executed notebook: the version that made it, and the text of each output (plots have none).

    `base` is the folder of the second run, for a notebook that compares two runs, or None.
    """

    base: Path | None
    maker: Maker
    texts: list[str]


def show(plot: "Callable[[Run], Figure | None]", run: "Run") -> Any:
    """Return a plot of a run for a notebook to show, or a sentence if there is nothing to draw."""
    from IPython.display import SVG

    from analysis.plots import style

    with style.styled():
        figure = plot(run)
        return "this run has nothing to draw here" if figure is None else SVG(style.to_svg(figure))


def execute(name: str, run: Path, base: Path | None = None, into: Path | None = None) -> Path:
    """Execute a notebook on a run and return the path of the copy with its outputs.

    The copy is in the folder ``into``, or by default in ``notebooks`` of the run's folder.

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
        notebook, timeout=_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    )
    variables = {"LOADGEN_RUN": str(run.resolve())}
    if base is not None:
        variables["LOADGEN_BASE"] = str(base.resolve())
    try:
        client.execute(env=environment(variables))
    except CellExecutionError as error:
        raise NotebookError(f"notebook {name} failed: {error.ename}: {error.evalue}") from None
    folder = into or (run / "notebooks" if run.is_dir() else run.parent / "notebooks")
    files.folder(folder)
    notebook.metadata["loadgen"] = {"base": variables.get("LOADGEN_BASE"), "made_by": revisions.made_by()}
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
                if "image/svg+xml" not in data:
                    texts.append("".join(data.get("text/plain", output.get("text", ""))))
        said = notebook.metadata.get("loadgen", {})
        base = said.get("base")
        return Shown(None if base is None else Path(base), revisions.maker_of(said), texts)
    except Exception as error:
        # Catch every exception: the file may hold anything, and nbformat may raise anything.
        raise NotebookError(f"it cannot be read: {type(error).__name__}") from None


def environment(variables: dict[str, str]) -> dict[str, str]:
    """Return the environment of a kernel or of Jupyter that imports nothing from its working directory."""
    import os

    # Let the Jupyter kernel import `analysis` from where this process imported it, installed or not.
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [str(FOLDER.parents[1]), *(path for path in named if Path(path).is_absolute())]
    return {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
