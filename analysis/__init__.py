"""From a run's folder to figures, plots and a report; reads the folder (results/README.md) and nothing else.

import analysis
run = analysis.load("results/20261124-031500-comments")
run.deliveries      # pandas DataFrame, read when asked for
analysis.summarise(run)["delivery"]["headline_ns"]
"""

from analysis.run import Run, RunError, load
from analysis.summary import summarise

__all__ = ["Run", "RunError", "load", "summarise"]
