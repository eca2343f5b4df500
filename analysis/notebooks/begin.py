"""Functions for a notebook's first cell: open the data that the notebook is about, and set the style of its plots.

The path of the data is an argument, or else in an environment variable. Without either, the sample data of the package
are opened, so a notebook runs in plain Jupyter with nothing set.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from cycler import cycler

from analysis import text
from analysis.loading.run import ReadError, Run, load
from analysis.notebooks.errors import NotebookError
from analysis.plots import style
from analysis.plots.axes import milliseconds_tick, nines_tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.compare.profile import Profile

RUN: Final = "LOADGEN_RUN"
BASE: Final = "LOADGEN_BASE"
#: The sample data: a run, a search for a limit, and two sets of runs.
SAMPLES: Final = Path(__file__).parent / "samples"
SEARCH_NAME: Final = "capacity.json"
#: Pictures are small, since they are committed with the notebooks, and white, since Jupyter's page may be dark.
_DPI = 72
_LOOKS: Any = {
    "figure.figsize": (9, 3.2),
    "figure.dpi": _DPI,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "axes.axisbelow": True,
    "axes.edgecolor": style.INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.titlelocation": "left",
    "grid.color": style.INK,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=style.CYCLE),
}


def open_run(path: str | Path | None = None) -> Run:
    """Return the run in a folder, and print which one it is.

    ``path`` defaults to the folder in the environment variable `LOADGEN_RUN`, or else to the sample run.

    Raises:
        NotebookError: there is no readable run in the folder, or the run measured nothing.
    """
    looks()
    chosen = _chosen(path)
    if chosen is None or (path is None and (chosen / SEARCH_NAME).is_file()):
        chosen = SAMPLES / "run"
    try:
        run = load(chosen)
    except ReadError as error:
        raise NotebookError(str(error)) from None
    if run.measure is None or run.measure.seconds <= 0:
        raise NotebookError(f"{chosen} measured nothing, so there is nothing to show")
    scenario = run.manifest["scenario"]
    print(
        f"{'The sample run' if _is_sample(chosen) else 'Run'} {text.clean(run.manifest['run'])}:"
        f" scenario {text.clean(scenario.get('name', text.UNKNOWN))}, {run.measure.seconds:g} s measured,"
        f" {_of(len(run.manifest['workers']), 'worker')}, {text.clean(run.manifest['status'])}"
    )
    return run


def open_search(path: str | Path | None = None) -> dict[str, Any]:
    """Return the content of the `capacity.json` in the folder of a search, and print what was searched.

    ``path`` defaults to the folder in the environment variable `LOADGEN_RUN` if that is a search, or else to the
    sample search.

    Raises:
        NotebookError: the folder holds no readable `capacity.json`.
    """
    looks()
    chosen = _chosen(path)
    if chosen is None or (path is None and not (chosen / SEARCH_NAME).is_file()):
        chosen = SAMPLES
    try:
        content: dict[str, Any] = json.loads((chosen / SEARCH_NAME).read_text(encoding="utf-8"))
        trials, goals = len(content["trials"]), [str(goal) for goal in content["request"]["goals"]]
        scenario = Path(str(content["request"]["scenario"])).stem
    except (OSError, ValueError, KeyError, TypeError):
        raise NotebookError(
            f"{chosen} has no readable {SEARCH_NAME}: give the folder that `loadgen capacity` printed"
        ) from None
    print(
        f"{'The sample search' if chosen == SAMPLES else 'Search'}: {trials} trials of scenario"
        f" {text.clean(scenario)}, goal {text.clean(' and '.join(goals))}"
    )
    return content


def open_sets(
    base: str | Path | None = None, new: str | Path | None = None
) -> tuple[list["Profile"], list["Profile"]]:
    """Return two sets of runs, base and new, each from a run, a folder of runs or a baseline file; print what they are.

    ``new`` defaults to the path in the environment variable `LOADGEN_RUN`. ``base`` defaults to the path in
    `LOADGEN_BASE`, or else to ``new``. Without any of these, both sets are sample data.

    Raises:
        NotebookError: one of them cannot be read.
    """
    from analysis.compare import profile

    looks()
    after = _chosen(new)
    before = Path(base) if base is not None else _named(BASE) or after
    sample = after is None
    if after is None or before is None:
        before, after = before or SAMPLES / "base.json", SAMPLES / "new.json"
    try:
        sets = profile.read(before), profile.read(after)
    except ReadError as error:
        raise NotebookError(str(error)) from None
    said = "The sample sets" if sample else "Sets"
    print(f"{said}: {_of(len(sets[0]), 'base run')} against {_of(len(sets[1]), 'new run')}")
    if before == after:
        print("No base is named, so the runs are compared with themselves.")
    return sets


def looks() -> None:
    """Set the style of the plots that matplotlib draws from here on."""
    mpl.rcParams.update(_LOOKS)


def nines_axis(axes: "Axes", smallest: float) -> None:
    """Make the x axis an axis of percentiles on which each further nine (90 %, 99 %, …) takes the same space.

    An x value is the share of samples above a percentile: 0.01 is the 99th percentile. The axis ends at the share
    ``smallest``, usually that of one sample.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_xlim(1.0, smallest)
    shares = [1.0, 0.5, 0.1]
    while shares[-1] / 10 >= smallest:
        shares.append(shares[-1] / 10)
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda share, _: "50 %" if share == 0.5 else nines_tick(share))
    )
    axes.set_xlabel("percentile")


def latency_axis(axes: "Axes") -> None:
    """Give the y axis, in milliseconds, ticks with units; make it logarithmic if it spans a factor above 30."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.dataLim.y0, axes.dataLim.y1
    if low > 0 and high / low > 30:
        axes.set_yscale("log")
        axes.set_ylim(low * 0.7, high * 3)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 1_000 else (1.0, 3.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    elif low >= 0:
        axes.set_ylim(0, high * 1.3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds_tick(value)))


def _chosen(path: str | Path | None) -> Path | None:
    return Path(path) if path is not None else _named(RUN)


def _named(variable: str) -> Path | None:
    """Return the path that an environment variable holds, or None if it is not set or empty."""
    return Path(value) if (value := os.environ.get(variable)) else None


def _of(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _is_sample(path: Path) -> bool:
    return path == SAMPLES / "run"
