"""Test docs/load-curves.md: its examples are valid, and each has a picture."""

import importlib.util
import shutil
from pathlib import Path

from loadgen.resolve.resolver import resolve
from loadgen.scenario.curves import FORM_TAGS
from tests.paths import REPO

SCRIPT = REPO / "docs" / "curves" / "draw.py"


def test_every_example_is_a_curve_and_has_a_picture(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("draw", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    shutil.copy(SCRIPT.parent / "rates.csv", tmp_path)
    examples = list(draw.examples())
    page = (REPO / "docs" / "load-curves.md").read_text()
    assert len(examples) == page.count("```yaml") == 8
    shown = set()
    for title, picture, profile in examples:
        assert picture.is_file(), title
        scenario = draw.scenario_of(profile, tmp_path)
        assert resolve(scenario).warnings == ()
        shown.add(profile.removeprefix("profile:").lstrip(" {").split(":")[0])
    # The page has an example of each form of profile but `points`, the form in which a run's record stores a recording.
    assert {key for key in FORM_TAGS if key != "points"} <= shown
