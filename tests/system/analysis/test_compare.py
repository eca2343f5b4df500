"""`loadgen compare` as a process."""

from pathlib import Path

from analysis.compare import profile
from tests.analysis.comparisons import World
from tests.system.harness import loadgen


def test_the_command(tmp_path: Path) -> None:
    base, new = World(18).sides(5, 1.3)
    profile.write(tmp_path / "base.json", base)
    profile.write(tmp_path / "new.json", new)
    worse = loadgen("compare", str(tmp_path / "base.json"), str(tmp_path / "new.json"))
    assert worse.code == 1, worse.said
    assert "worse" in worse.out
    assert all(len(line) <= 80 for line in worse.out.splitlines()), worse.out
