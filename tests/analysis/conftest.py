"""Whatever summary a test makes: its keys are on the list of the revision that this version writes."""

from collections.abc import Iterator
from typing import Any

import pytest

from analysis import revisions, summary
from analysis.revisions import SUMMARY, shape


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
