"""Check the keys of every summary in these tests: `revisions.json` must list them for the current revision.

Drawing takes most of a report's time, so plots are laid out but not drawn, except in tests of what is drawn.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis import summary
from analysis.plots import style
from analysis.record import revisions
from analysis.record.revisions import SUMMARY, shape


@pytest.fixture(autouse=True)
def _keys_are_listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    unlisted: set[str] = set()
    listed = revisions.keys(revisions.current())
    finish = summary._judged

    def judged(*arguments: Any) -> dict[str, Any]:
        found = finish(*arguments)
        unlisted.update(shape(SUMMARY, found) - listed)
        return found

    monkeypatch.setattr(summary, "_judged", judged)
    yield
    assert not unlisted, (
        f"the summary has keys that revision {revisions.current()} does not list: {sorted(unlisted)}. Let a run in"
        " tests/analysis/golden.py have them, and run `python -m tests.analysis.renew`"
    )


#: Files whose tests need drawn plots: tests of each plot, and of the reports of all synthetic runs
#: (`golden.py`).
DRAWN = {"test_compare_services.py", "test_plots.py", "test_revisions.py"}


@pytest.fixture(autouse=True)
def _undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path(request.path).name not in DRAWN:
        monkeypatch.setattr(style, "to_svg", lambda _: "<svg></svg>")
