"""Test change points: constant histories rarely show one, and real changes are found at the right run."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from analysis.compare import profile
from analysis.compare.history import changes, split
from analysis.compare.profile import Profile
from loadgen.cli import compare as registered
from loadgen.cli.app import app


def histories(count: int, length: int, step: float, seed: int = 5) -> list[np.ndarray]:
    """Return histories of a figure with 3 % of noise; the second half of each is higher by ``step``."""
    random = np.random.default_rng(seed)
    level = np.where(np.arange(length) >= length // 2, np.log1p(step), 0.0)
    return [np.exp(random.normal(10, 0.03, length) + level) for _ in range(count)]


@pytest.mark.parametrize("length", [8, 12, 20, 50])
def test_a_history_without_a_change_shows_one_in_at_most_five_per_cent(length: int) -> None:
    found = sum(len(split(values)) > 1 for values in histories(400, length, 0.0))
    assert found <= 20


def test_a_change_of_a_tenth_over_twenty_runs_is_found_where_it_is() -> None:
    hits = 0
    for values in histories(200, 20, 0.10):
        levels = split(values)
        hits += len(levels) == 2 and abs(levels[1].first - 10) <= 1
    assert hits >= 180


def test_what_is_too_short_or_empty_has_no_change() -> None:
    assert split(np.array([])) == []
    assert len(split(np.array([1.0, 1.0, 9.0, 9.0, 9.0]))) == 1
    assert [(level.first, level.last) for level in split(np.array([1.0] * 4 + [2.0] * 4))] == [(0, 3), (4, 7)]


def made_up(number: int, p99_ns: float | None, rate: float) -> Profile:
    figures = {"delivery.latency.p99": p99_ns, "delivery.rate": rate}
    return Profile(f"run-{number}", {}, "valid", "complete", 0.0, number, figures, {}, [])


def test_the_way_of_a_change_depends_on_the_metric() -> None:
    values = [100.0, 101, 99, 100, 130, 131, 129, 130]
    found = changes([made_up(n, value, value) for n, value in enumerate(values)])
    assert {(change.metric, change.worse, change.run) for change in found} == {
        ("delivery.latency.p99", True, "run-4"),
        ("delivery.rate", False, "run-4"),
    }
    assert all(change.ratio == pytest.approx(0.3) for change in found)
    assert changes([made_up(n, value, value) for n, value in enumerate(values)], min_effect=0.4) == []


def test_runs_without_a_figure_are_left_out_and_places_stay_right() -> None:
    values = [None, 100.0, 101, 99, 100, None, 130, 131, 129, 130]
    (change,) = changes([made_up(n, value, 5.0) for n, value in enumerate(values)])
    assert (change.run, change.place) == ("run-6", 6)


def command(*arguments: str) -> tuple[int, str]:
    """Run `loadgen` in this process; return its exit code and what it printed."""
    assert registered.compare.__name__ == "compare"
    done = CliRunner().invoke(app, list(arguments))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout


def test_the_command_sorts_by_time_and_names_the_run(tmp_path: Path) -> None:
    values = [100.0, 101, 99, 100, 130, 131, 129, 130]
    runs = [made_up(n, value * 1e6, 5.0) for n, value in enumerate(values)]
    profile.write(tmp_path / "new.json", runs[4:])
    profile.write(tmp_path / "old.json", runs[:4])
    code, said = command("history", str(tmp_path / "new.json"), str(tmp_path / "old.json"))
    assert code == 1
    assert "run-4" in said
    assert "+30.0 %" in said
    assert "worse" in said
    code, said = command("history", str(tmp_path / "old.json"))
    assert (code, "too few" in said) == (0, True)
    _, said = command("history", str(tmp_path / "new.json"), str(tmp_path / "old.json"), "--json")
    assert json.loads(said)["changes"][0]["place"] == 4


def test_the_page_has_a_plot_for_each_metric_and_a_table_and_nothing_foreign(tmp_path: Path) -> None:
    values = [100.0, 101, 99, 100, 130, 131, 129, 130]
    evil = "<script>alert(1)</script>"
    runs = [
        Profile(
            f"{evil}-{n}",
            {"name": evil},
            "valid",
            "complete",
            0.0,
            n,
            {"delivery.latency.p99": value * 1e6},
            {},
            [],
        )
        for n, value in enumerate(values)
    ]
    profile.write(tmp_path / "all.json", runs)
    page = tmp_path / "history.html"
    code, _ = command("history", str(tmp_path / "all.json"), "--html", str(page))
    assert code == 1
    written = page.read_text()
    assert evil not in written
    assert "&lt;script&gt;alert(1)&lt;/script&gt;-4" in written
    assert written.count("<svg") == 1, "one metric is known"
    assert "1 change of level in 8 runs: 1 for the worse" in written
    table = written[written.index("<h2>Runs</h2>") :]
    assert table.count("<tr>") == 1 + len(runs)
    assert "130 ms" in table
    assert "http" not in written.replace("http://www.w3.org", ""), "the page needs no network"
    code, _ = command("history", str(tmp_path / "all.json"), "--html", str(tmp_path))
    assert code == 2
    profile.write(tmp_path / "few.json", runs[:4])
    assert command("history", str(tmp_path / "few.json"), "--html", str(page))[0] == 0
    assert "4 runs are too few for a history: it takes 6" in page.read_text()
