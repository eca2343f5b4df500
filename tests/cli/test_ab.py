"""Test `loadgen ab` with synthetic runs: their order, the early stop, and the comparison at the end."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from loadgen.cli import compare, variants
from loadgen.cli.app import app
from tests.analysis.synthetic import MS, T0, connection, delivery, event, subscription, write_run

pytestmark = pytest.mark.long


class Runs:
    """A stand-in for `loadgen run`: it writes runs with a latency of ``said`` ms, plus up to 0.4 %."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, said: str, results: Path, whole: bool) -> None:
        number = len(self.made)
        self.made.append(results.name)
        latency_ns = int(float(said) * MS * (1 + (number * 7 % 5) / 1_000))
        events = [event(9, n, "/a", n * 50 * MS) for n in range(20)]
        write_run(
            results / f"run-{number:02d}",
            {
                "events": events,
                "subscriptions": [subscription(n, "/a", -MS) for n in range(3)],
                "deliveries": [delivery(e, s, latency_ns) for e in events for s in range(3)],
                "connections": [connection(n) for n in range(3)],
            },
            created_ns=T0 + number,
        )


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    made = Runs()
    monkeypatch.setattr(compare, "_run", made)
    # These tests pass a latency instead of the arguments of `loadgen run`. So turn off the check of the arguments.
    monkeypatch.setattr(variants, "problem", lambda said: None)
    return made


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("broadcast --set clients.nobody.count=3", "clients.nobody is not in the scenario"),
        ("broadcast --sat seed=3", "No such option: --sat"),
        ("broadcast 'x", "cannot be split into arguments"),
        ("", "names no scenario"),
    ],
)
def test_both_sides_are_checked_before_the_first_run(tmp_path: Path, wrong: str, told: str) -> None:
    results = tmp_path / "results"
    for side, arguments in (("new", ("broadcast", wrong)), ("base", (wrong, "broadcast"))):
        code, said = ab(results, *arguments)
        assert code == 2
        assert f"{side} cannot run: " in said
        assert told in said
        assert not results.exists()


def ab(folder: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["ab", *arguments, "--results", str(folder)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def test_it_stops_when_the_result_is_clear_and_keeps_the_plan(tmp_path: Path, runs: Runs) -> None:
    code, said = ab(tmp_path, "10", "30", "--repeats", "12")
    assert code == 1, said
    assert runs.made == ["base", "new", "new", "base"] * (len(runs.made) // 4)
    pairs = len(runs.made) // 2
    assert pairs < 12
    assert f"worse: clear after {pairs} of at most 12 pairs" in said
    # Each run has a line with its verdict, its figures and its folder.
    lines = said.splitlines()
    at = lines.index("base, run 1 of at most 12")
    assert re.fullmatch(
        rf"  \w+, p50 10\.0 ms, p99 10\.0 ms, .+; report: {tmp_path}/base/run-00", lines[at + 1]
    )
    assert lines[at + 2].startswith("new, run 1 of")
    assert json.loads((tmp_path / "ab.json").read_text()) == {"format": 1, "most": 12}
    again = CliRunner().invoke(app, ["compare", str(tmp_path / "base"), str(tmp_path / "new"), "--json"])
    assert json.loads(again.output)["most"] == 12


def test_fixed_makes_all_runs(tmp_path: Path, runs: Runs) -> None:
    code, said = ab(tmp_path, "10", "30", "--repeats", "6", "--fixed")
    assert (code, len(runs.made)) == (1, 12), said
    assert "at most" not in said
    assert "clear after" not in said
    code, said = ab(tmp_path, "10", "30")
    assert (code, len(runs.made)) == (2, 12)
    assert "has runs in it already" in said
