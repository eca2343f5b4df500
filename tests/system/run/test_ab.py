"""Test `loadgen ab`: two variants run alternately and are compared."""

from pathlib import Path

import pytest

from analysis.record.folders import runs_in
from tests.system.harness import SMALL, loadgen, overrides, read
from tests.system.service import Service
from tests.system.users.player import Player

pytestmark = pytest.mark.long

QUICK = (*SMALL, "phases.measure=1s", "phases.warmup=200ms", "phases.drain=500ms")


def test_runs_alternate_and_are_compared(tmp_path: Path, service: Service, commands: Player) -> None:
    base = " ".join(["comments", "--no-report", *service.options, *overrides(QUICK)])
    new = " ".join(
        ["comments", "--no-report", *service.options, *overrides((*QUICK, "clients.readers.count=20"))]
    )
    done = loadgen("ab", base, new, "--repeats", "3", "--results", str(tmp_path / "ab"))
    assert done.code in (0, 1, 3), done.said
    made = sorted(
        (read(run / "manifest.json")["created_ns"], side)
        for side in ("base", "new")
        for run in runs_in(tmp_path / "ab" / side)
    )
    assert [side for _, side in made] == ["base", "new", "new", "base", "base", "new"]
    assert read(tmp_path / "ab" / "ab.json") == {"format": 1, "most": 3}
    assert "delivery.rate" in done.out
    assert "worse" in done.out
    assert "the scenarios differ" in done.out
    again = commands.command(tmp_path, "loadgen", "ab", base, new, "--results", str(tmp_path / "ab"))
    assert again.code == 2
    assert "choose another folder" in again.err


def test_a_run_that_fails_ends_it(tmp_path: Path) -> None:
    done = loadgen("ab", "no-such-scenario", "comments", "--results", str(tmp_path), "--repeats", "2")
    assert done.code == 2
    assert "no-such-scenario" in done.err
