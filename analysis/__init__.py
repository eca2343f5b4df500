"""Compute figures, plots and a report from a run folder, reading nothing else (format: results/README.md).

import analysis
run = analysis.load("results/20261124-031500Z-comments")
run.deliveries      # pandas DataFrame, loaded on first access
analysis.summarise(run)["delivery"]["headline_ns"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.figures.intervals import by_second
    from analysis.loading.run import ReadError, Run, load
    from analysis.summary import summarise

_MODULES = {
    "Run": "loading.run",
    "ReadError": "loading.run",
    "by_second": "figures.intervals",
    "load": "loading.run",
    "summarise": "summary",
}
__all__ = ["Run", "ReadError", "by_second", "load", "summarise"]


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that importing `analysis.gates.grammar` loads neither numpy nor pyarrow."""
    if name not in _MODULES:
        raise AttributeError(f"module 'analysis' has no attribute {name!r}")
    return getattr(import_module(f"analysis.{_MODULES[name]}"), name)
