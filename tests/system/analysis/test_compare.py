"""Test `loadgen compare` and `loadgen history` as processes."""

from pathlib import Path

from analysis.compare import profile
from tests.system.harness import loadgen
from tests.system.here import here


def test_the_command(tmp_path: Path) -> None:
    from tests.analysis.comparisons import World  # this loads SciPy, and few processes need it

    base, new = World(18).sides(5, 1.3)
    profile.write(tmp_path / "base.json", base)
    profile.write(tmp_path / "new.json", new)
    worse = loadgen("compare", str(tmp_path / "base.json"), str(tmp_path / "new.json"))
    assert worse.code == 1, worse.said
    assert "worse" in worse.out
    assert all(len(line) <= 80 for line in worse.out.splitlines()), worse.out


def test_the_history_of_a_metric(tmp_path: Path) -> None:
    from tests.analysis.compare.test_history import made_up

    values = [100.0, 101, 99, 100, 130, 131, 129, 130]
    profile.write(tmp_path / "all.json", [made_up(n, value * 1e6, 5.0) for n, value in enumerate(values)])
    done = here("history", str(tmp_path / "all.json"), env={})
    assert done.code == 1, done.said
    assert "run-4" in done.out
