"""Test `loadgen verify` on a comparison: it repeats the comparison, and checks it with scipy and SQL."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from analysis.__main__ import main
from analysis.compare import decide, page, plan, profile
from analysis.compare.content import Settings, Side, content
from analysis.compare.decide import SAME
from analysis.compare.design import Design
from analysis.compare.outputs import percent
from analysis.loading.run import ReadError
from analysis.record import revisions
from analysis.verify import comparison
from analysis.verify.compared import Verification, conclusion, sentences
from analysis.verify.comparison import Runs, verify
from loadgen.cli import compare
from loadgen.cli import verify as registered
from loadgen.cli.app import app
from tests.analysis.comparisons import World
from tests.analysis.synthetic import MS, T0, connection, delivery, event, subscription, write_run

pytestmark = pytest.mark.long


def run(folder: Path, created: int, latency_ns: int) -> Path:
    """Write a run of three subscribers and twenty events in one second.

    The n-th event's latency is ``latency_ns`` and n thousandths more.
    """
    events = [event(9, n, "/a", n * 50 * MS) for n in range(20)]
    return write_run(
        folder,
        {
            "events": events,
            "subscriptions": [subscription(n, "/a", -MS) for n in range(3)],
            "deliveries": [
                delivery(e, s, latency_ns + (n * latency_ns) // 1_000 + s)
                for n, e in enumerate(events)
                for s in range(3)
            ],
            "connections": [connection(n) for n in range(3)],
        },
        created_ns=T0 + created,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make six runs, alternating between the base and the new version."""
    root = tmp_path_factory.mktemp("ab")
    for turn, (base, new) in enumerate(((10, 12), (11, 13), (10.5, 12.9))):
        run(root / "base" / f"b{turn}", 2 * turn, int(base * MS))
        run(root / "new" / f"n{turn}", 2 * turn + 1, int(new * MS))
    return root


@pytest.fixture(scope="module")
def stoppable(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """Return a folder of four pairs of runs, and a cache of the runs.

    The runs of a pair differ clearly, so that a comparison that may stop early does stop.
    """
    root = tmp_path_factory.mktemp("ab")
    for turn, (base, new) in enumerate(((10, 14), (11, 15), (10.5, 14.9), (10.2, 14.1))):
        run(root / "base" / f"b{turn}", 2 * turn, int(base * MS))
        run(root / "new" / f"n{turn}", 2 * turn + 1, int(new * MS))
    return root, Runs()


@pytest.fixture(scope="module")
def known() -> Runs:
    """A cache of the runs' figures, for tests that change the output of a comparison but not its runs."""
    return Runs()


def compared(tmp_path: Path, base: Path, new: Path, *more: str, name: str = "said") -> tuple[Path, Path]:
    """Run `loadgen compare`; return the paths of a file with its JSON output and of its HTML page."""
    assert (compare.compare.__name__, registered.verify.__name__) == ("compare", "verify")
    html, said = tmp_path / f"{name}.html", tmp_path / f"{name}.json"
    done = CliRunner().invoke(app, ["compare", str(base), str(new), "--json", "--html", str(html), *more])
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code in (0, 1, 3), done.output
    said.write_text(done.output)
    return said, html


def written(tmp_path: Path, known: Runs, base: Path, new: Path, name: str = "said") -> tuple[Path, Path]:
    """Write the output of `loadgen compare` without running the command; return the paths of JSON and HTML.

    ``known`` caches the runs that were read before.
    """
    one, other = (Side.read_from(each, known.profiles(each)) for each in (base, new))
    differences = Settings().differences(one.runs, other.runs)
    found = content(one, other, Settings(), differences)
    html, said = tmp_path / f"{name}.html", tmp_path / f"{name}.json"
    said.write_text(json.dumps(found))
    html.write_text(page.render(one.runs, other.runs, differences, found, drawn=False))
    return said, html


def command(path: Path) -> tuple[int, list[str]]:
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output.splitlines()


def rewritten(path: Path, **more: Any) -> Path:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))
    return path


def test_what_compare_prints_and_its_page_agree(runs: Path, known: Runs, tmp_path: Path) -> None:
    said, html = compared(tmp_path, runs / "base", runs / "new", "--min-effect", "7.5")
    found = verify(said, known)
    assert found.disagreements == []
    assert found.compared["in SQL"] == 30
    assert found.compared["by scipy"] >= 20
    content = json.loads(said.read_text())
    assert content["min_effect"] == 0.075
    assert [each["run"] for each in content["base"]["runs"]] == ["b0", "b1", "b2"]
    assert content["made_by"] == revisions.made_by()
    found = verify(html, known)
    assert found.disagreements == []
    assert found.compared["said.html, its text"] > 30
    code, lines = command(html)
    assert (code, lines[-1]) == (0, "all agree")


def test_baselines_are_compared_with_what_they_hold(tmp_path: Path) -> None:
    base, new = World(21).sides(4, 1.2)
    for name, side in (("base", base), ("new", new)):
        profile.write(tmp_path / f"{name}.json", side)
    said, html = compared(tmp_path, tmp_path / "base.json", tmp_path / "new.json")
    for path in (said, html):
        found = verify(path)
        assert found.disagreements == []
        assert "in SQL" not in found.compared


@pytest.mark.parametrize(("base", "new"), [(6, 1), (1, 6), (6, 2), (2, 2), (1, 1), (5, 4)])
def test_any_number_of_runs_is_checked_by_scipy(tmp_path: Path, base: int, new: int) -> None:
    world = World(28, between=0.1)
    profile.write(tmp_path / "base.json", [world.run() for _ in range(base)])
    profile.write(tmp_path / "new.json", [world.run(1.5) for _ in range(new)])
    said, _ = compared(tmp_path, tmp_path / "base.json", tmp_path / "new.json")
    found = verify(said)
    assert found.disagreements == []
    # The check compares the means and changes of five metrics. With three or more runs on a side, it also compares the
    # intervals and verdicts.
    spread = max(base, new) >= 3
    assert found.compared["by scipy"] >= (27 if spread else 15)
    if not spread:
        return
    (metric,) = (
        each for each in json.loads(said.read_text())["metrics"] if each["metric"] == "delivery.latency.p99"
    )
    narrow = {**metric, "low": 0.45, "high": 0.55}
    wrong = Verification(remedy="")
    one, other = (profile.read(tmp_path / f"{side}.json") for side in ("base", "new"))
    figures = [[each.figures["delivery.latency.p99"] or 0 for each in side] for side in (one, other)]
    kind = Design.of(one, other).kind
    comparison._metric(figures[0], figures[1], kind, Settings(), narrow, wrong)
    assert any("cannot be narrower" in line for line in wrong.disagreements)


@pytest.mark.parametrize("most", [4, 8])
def test_a_plan_that_may_stop_early_is_repeated_as_such(
    stoppable: tuple[Path, Runs], tmp_path: Path, most: int
) -> None:
    root, known = stoppable
    plan.write(root, most)
    said, html = compared(tmp_path, root / "base", root / "new")
    assert json.loads(said.read_text())["most"] == most
    for path in (said, html):
        assert verify(path, known).disagreements == []
    if most > 4:
        # A plan that evaluates the runs several times needs wider intervals. So `verify` must take the plan from the
        # file; without the plan, it computes other intervals.
        assert verify(rewritten(said, most=None), known).disagreements


def _values(metric: dict[str, Any]) -> list[str]:
    return [name for name, value in metric.items() if isinstance(value, int | float | str)]


def test_any_figure_that_was_changed_is_named(runs: Path, known: Runs, tmp_path: Path) -> None:
    said, html = written(tmp_path, known, runs / "base", runs / "new")
    whole = json.loads(said.read_text())
    for number, metric in enumerate(whole["metrics"]):
        for name in _values(metric):
            value = metric[name]
            changed = f"{value}x" if isinstance(value, str) else value + max(1, abs(value)) * 1e-6
            metrics = [dict(each) for each in whole["metrics"]]
            metrics[number][name] = changed
            said.write_text(json.dumps({**whole, "metrics": metrics}))
            (sentence,) = verify(said, known).disagreements
            assert sentence.startswith(f"said.json: metrics.{number}.{name} is ")
    said.write_text(json.dumps({**whole, "verdict": SAME}))
    assert verify(said, known).disagreements == ['said.json: verdict is "same", and "worse" by the tables']
    page_text = html.read_text()
    shown = f"<td>{percent(whole['metrics'][0]['change'])}</td>"
    assert shown in page_text
    html.write_text(page_text.replace(shown, "<td>+1.9 %</td>", 1))
    (sentence,) = verify(html, known).disagreements
    assert sentence.startswith(
        f"said.html, its text: it is +1.9 where it is {shown[4:].split()[0]} by the tables"
    )


def two_a_side(runs: Path, folder: Path) -> Path:
    """Copy the first two runs of each side, to be changed or moved."""
    return shutil.copytree(runs, folder, ignore=shutil.ignore_patterns("b2", "n2"))


def test_a_table_that_was_changed_is_found(runs: Path, tmp_path: Path) -> None:
    ours = two_a_side(runs, tmp_path / "ab")
    said, _ = written(tmp_path, Runs(), ours / "base", ours / "new")
    run(ours / "new" / "n1", 3, 20 * MS)
    code, lines = command(said)
    assert code == 3
    assert any("metrics.0.new is" in line for line in lines)
    assert lines[-1].endswith(" disagree")


def test_runs_that_were_moved_are_looked_for_and_it_says_where(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    ours = two_a_side(runs, tmp_path / "here" / "ab")
    monkeypatch.chdir(tmp_path / "here")
    said, _ = written(tmp_path / "here", Runs(), Path("ab/base"), Path("ab/new"))
    # The check ignores a run that was added after the comparison was written.
    run(ours / "new" / "n9", 9, 20 * MS)
    found = verify(said)
    assert found.disagreements == []
    assert "new: 1 of the 3 runs in" in found.notes[0]
    # Runs that were moved together with the file are found beside it.
    monkeypatch.chdir("/")
    moved = Path(shutil.move(tmp_path / "here", tmp_path / "there"))
    assert verify(moved / "said.json").disagreements == []
    shutil.rmtree(moved / "ab" / "new" / "n1")
    code, lines = command(moved / "said.json")
    assert (code, len(lines)) == (2, 1)
    assert "the runs of new are not where said.json says, nor beside it. Looked in: " in lines[0]
    assert f"{moved}/ab/new lacks n1" in lines[0]
    (moved / "ab" / "base" / "b0" / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(ReadError, match=r"the runs of base are not where .* damaged record: manifest\.json"):
        verify(moved / "said.json")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"base": None}, "does not name its runs, as an older version made it"),
        ({"base": {}}, "does not say where the runs of base are"),
        ({"base": {"path": "x", "where": "y", "runs": [1]}}, "does not name the runs of base"),
        ({"base": {"path": "\0", "where": "\0", "runs": [{"run": "a", "created_ns": 1}]}}, "Looked in"),
        ({"format": 2}, "is not a comparison of format 1"),
        ({"min_effect": "5"}, "does not say how it compared"),
        ({"min_effect": 1e999}, "does not say how it compared"),
        ({"confidence": 1}, "does not say how it compared"),
        ({"seed": -1}, "does not say how it compared"),
        ({"resamples": 10**12}, "does not say how it compared"),
    ],
)
def test_a_damaged_comparison_is_said_in_a_sentence(
    runs: Path, known: Runs, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    path, _ = written(tmp_path, known, runs / "base", runs / "new")
    code, lines = command(rewritten(path, **more))
    assert (code, len(lines)) == (2, 1)
    assert said in lines[0]


@pytest.mark.parametrize("metrics", [3, [], [1, 2, 3, 4, 5], {}, None])
def test_metrics_of_another_shape_disagree(runs: Path, known: Runs, tmp_path: Path, metrics: Any) -> None:
    said, _ = written(tmp_path, known, runs / "base", runs / "new")
    found = verify(rewritten(said, metrics=metrics), known)
    assert not found.agrees
    assert all(len(line) < 600 for line in sentences(found))
    assert "disagree" in conclusion(found)


@pytest.mark.parametrize("in_turns", [True, False])
def test_a_mistake_in_the_statistics_would_be_found(
    runs: Path, known: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_turns: bool
) -> None:
    """The check is independent: it uses scipy's tests and SQL, not the code of the comparison."""
    base, new = runs / "base", runs / "new"
    if not in_turns:
        base, new = tmp_path / "base", tmp_path / "new"
        for side, latencies in ((base, (10, 11, 10.5)), (new, (12, 13, 12.9))):
            for number, latency in enumerate(latencies):
                run(side / f"{side.name}{number}", number, int(latency * MS))
    said, _ = written(tmp_path, known, base, new)
    assert verify(said, known).disagreements == []
    right = decide._difference

    def wrong(**changes: Any) -> list[str]:
        def difference(*arguments: Any) -> Any:
            found = right(*arguments)
            return replace(found, **{name: of(found) for name, of in changes.items()})

        monkeypatch.setattr(decide, "_difference", difference)
        said, _ = written(tmp_path, known, base, new, name="wrong")
        lines = verify(said, known).disagreements
        monkeypatch.setattr(decide, "_difference", right)
        return lines

    assert any("the base is" in line for line in wrong(base=lambda d: d.base * 1.01))
    assert any("the change is" in line for line in wrong(change=lambda d: d.change * 1.01))
    assert any("the interval is" in line for line in wrong(low=lambda d: d.low + abs(d.low) * 0.01 + 1e-6))
    assert any("the verdict is same" in line for line in wrong(verdict=lambda d: SAME))
    assert any("the verdict is better" in line for line in wrong(verdict=lambda d: "better"))
    percentile = profile._Distribution.percentile
    monkeypatch.setattr(
        profile._Distribution, "percentile", lambda samples, percent: percentile(samples, percent - 30)
    )
    mistaken = Runs()
    said, _ = written(tmp_path, mistaken, base, new, name="wrong")
    assert any(
        line.startswith("in SQL delivery.latency.p50") for line in verify(said, mistaken).disagreements
    )


def test_one_run_a_side_has_no_interval_to_hold_against(runs: Path, known: Runs, tmp_path: Path) -> None:
    said, html = written(tmp_path, known, runs / "base" / "b0", runs / "new" / "n0")
    for path in (said, html):
        found = verify(path, known)
        assert found.disagreements == []
        assert found.compared["by scipy"] == 15


def test_a_comparison_of_an_older_version_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps({"verdict": "same", "metrics": [], "doubts": []}))
    code, lines = command(tmp_path / "old.json")
    assert (code, len(lines)) == (2, 1)
    assert "does not name its runs, as an older version made it: compare them again" in lines[0]


def test_what_is_foreign_in_a_page_stays_text(runs: Path, known: Runs, tmp_path: Path) -> None:
    bad = tmp_path / '"><script>alert(1)</script>'
    shutil.copytree(runs / "base", bad / "base")
    _, html = written(tmp_path, known, bad / "base", runs / "new")
    assert "<script>" not in html.read_text()
    assert verify(html, known).disagreements == []
    assert main(["summary", str(bad / "base" / "b0")]) == 0
    assert page.META in html.read_text()
