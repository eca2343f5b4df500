"""Make a run's report page, for tests of its text."""

from pathlib import Path

import analysis
from analysis.report.page import render
from tests.system.harness import read


def page(folder: Path) -> str:
    """Return the report of a run's folder without its charts, which take two seconds of CPU time to draw.

    test_end_to_end.py, test_endings.py and test_wheel.py test that a run itself draws and writes its report.
    """
    return render(analysis.load(folder), read(folder / "summary.json"), drawn=False)
