"""`loadgen compare`, `baseline`, `history` and `ab`: compare builds, services or settings."""

import json
import os
import shlex
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from analysis import extras
from analysis.console import screen
from loadgen import subprocesses
from loadgen.cli import variants
from loadgen.cli.app import PartsFromOption, app, fail, trust_parts
from loadgen.cli.parameters import arguments
from loadgen.exits import ExitCode

if TYPE_CHECKING:
    from analysis.compare.content import Settings
    from analysis.compare.profile import Profile


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="Run folder, folder of runs, or baseline file.")],
    new: Annotated[Path, typer.Argument(help="The same for the runs to judge.")],
    min_effect: Annotated[
        float, typer.Option(help="Smallest change that matters, in per cent.", min=0.1, max=100)
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write the comparison as a page.", metavar="FILE")
    ] = None,
    parts_from: PartsFromOption = None,
) -> None:
    """Compare two sets of runs: better, worse, same, or can't tell.

    Both sets should be of one scenario, with three or more runs each, made in turns (base, new, base, new …). A single
    run is compared with the spread of a baseline of three or more runs. If the runs are of different services, the
    comparison names the services and lists the other differences.

    Exit codes: 0 same or better, 1 worse, 2 usage, 3 can't tell.
    """
    extras.require("compare", "loadgen compare")
    trust_parts(parts_from)
    from analysis.compare import plan, profile
    from analysis.compare.content import Settings
    from analysis.loading.run import ReadError

    try:
        before, after = profile.read(base), profile.read(new)
        settings = Settings(min_effect / 100, most=plan.most_of(base, new))
    except ReadError as error:
        fail(str(error))
    _conclude((base, before), (new, after), settings, as_json=as_json, html=html)


def _conclude(
    base: "tuple[Path, list[Profile]]",
    new: "tuple[Path, list[Profile]]",
    settings: "Settings",
    *,
    as_json: bool = False,
    html: Path | None = None,
) -> NoReturn:
    """Compare the runs read from two places, show the result, and exit with its code."""
    from analysis.compare import outputs
    from analysis.compare.content import Side, content
    from analysis.compare.decide import UNKNOWN, WORSE

    before, after = base[1], new[1]
    differences = settings.differences(before, after)
    found = content(Side.read_from(*base), Side.read_from(*new), settings, differences)
    if html is not None:
        from analysis.compare import page

        try:
            page.write(html, before, after, differences, found)
        except OSError as error:
            fail(f"{html} cannot be written: {error.strerror}")
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        outputs.show(screen(log_columns=100), before, after, differences)
    codes = {WORSE: ExitCode.GATE_FAILED, UNKNOWN: ExitCode.INCONCLUSIVE}
    raise typer.Exit(int(codes.get(outputs.overall(differences), ExitCode.PASSED)))


@app.command()
def baseline(
    runs: Annotated[Path, typer.Argument(help="Run folder, or folder of runs.")],
    file: Annotated[Path, typer.Argument(help="Baseline file to write, such as baselines/comments.json.")],
    parts_from: PartsFromOption = None,
) -> None:
    """Save runs as a small baseline file to commit."""
    from analysis.compare import profile
    from analysis.loading.run import ReadError

    trust_parts(parts_from)
    try:
        profiles = profile.read(runs)
        profile.write(file, profiles)
    except ReadError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    print(f"{len(profiles)} runs, {file.stat().st_size / 1024:.0f} KB: {file}")


@app.command()
def history(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs and baseline files, in any order.")],
    min_effect: Annotated[
        float, typer.Option(help="Smallest change to show, in per cent.", min=0, max=100)
    ] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also draw the history as a page.", metavar="FILE")
    ] = None,
    parts_from: PartsFromOption = None,
) -> None:
    """Find changes of a metric's level over many runs.

    Needs at least six runs of one scenario. Exit codes: 0 no change or only for the better, 1 a change for the worse,
    2 usage.
    """
    extras.require("compare", "loadgen history")
    trust_parts(parts_from)
    from analysis.compare import outputs, profile
    from analysis.compare.history import changes, series
    from analysis.loading.run import ReadError

    try:
        profiles = [found for path in runs for found in profile.read(path)]
    except ReadError as error:
        fail(str(error))
    profiles.sort(key=lambda found: found.created_ns)
    histories = series(profiles)
    found = changes(profiles, min_effect / 100, histories)
    if html is not None:
        from analysis.compare import history_page

        try:
            history_page.write(html, profiles, histories, found)
        except OSError as error:
            fail(f"{html} cannot be written: {error.strerror}")
    if as_json:
        content = {
            "runs": [each.run for each in profiles],
            "changes": [{**asdict(change), "ratio": change.ratio} for change in found],
        }
        print(json.dumps(content, indent=1))
    else:
        outputs.show_history(screen(log_columns=100), profiles, found)
    raise typer.Exit(int(ExitCode.GATE_FAILED if any(change.worse for change in found) else ExitCode.PASSED))


@app.command()
def ab(
    base: Annotated[str, typer.Argument(help="Arguments of `loadgen run` for a base run, in quotes.")],
    new: Annotated[str, typer.Argument(help="The same for the variant to judge.")],
    repeats: Annotated[int, typer.Option(help="Most runs of each side.", min=2, max=100)] = 5,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Make all runs, even if the result is clear before.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder for the runs, in base/ and new/.")] = Path(
        "results/ab"
    ),
    min_effect: Annotated[
        float, typer.Option(help="Smallest change that matters, in per cent.", min=0.1, max=100)
    ] = 5.0,
    whole: Annotated[
        bool, typer.Option("--whole", help="Print the results of each run, not only a line.")
    ] = False,
) -> None:
    """Run two variants in turns and compare them.

    For example: `loadgen ab comments "comments --set seed=2" --repeats 10`. The command compares the runs after each
    pair and stops early if a metric is worse or all metrics are decided. The statistical test allows for these repeated
    comparisons. A run that fails ends the command, unless it only fails a gate or is inconclusive. Exit codes: those of
    `loadgen compare`, or that of the run that failed.
    """
    extras.require("compare", "loadgen ab")
    from analysis.compare import outputs, plan
    from analysis.compare.content import Settings
    from analysis.compare.decide import UNKNOWN

    for side in ("base", "new"):
        if (results / side).exists() and any((results / side).iterdir()):
            fail(f"{results / side} has runs in it already: choose another folder with --results")
    for side, said in (("base", base), ("new", new)):
        if (problem := variants.problem(said)) is not None:
            fail(f"{side} cannot run: {problem}")
    settings = Settings(min_effect / 100, most=None if fixed else repeats)
    try:
        plan.write(results, settings.most)
    except OSError as error:
        fail(f"{results / plan.NAME} cannot be written: {error.strerror}")
    runs: dict[str, list[Profile]] = {"base": [], "new": []}
    for turn in range(repeats):
        # Every second pair runs in reverse order, so that a steady drift of machine or service affects both sides
        # alike.
        pair = [("base", base), ("new", new)]
        for side, said in pair if turn % 2 == 0 else reversed(pair):
            print(f"{side}, run {turn + 1} of {'' if fixed else 'at most '}{repeats}", flush=True)
            _run(said, results / side, whole)
            for made in _read_more(results / side, runs[side]):
                print(_told(made, results / side / made.run), flush=True)
        if fixed or turn + 1 == repeats:
            continue
        verdict = outputs.overall(settings.differences(runs["base"], runs["new"]))
        if verdict != UNKNOWN:
            print(f"{verdict}: clear after {turn + 1} of at most {repeats} pairs", flush=True)
            break
    _conclude((results / "base", runs["base"]), (results / "new", runs["new"]), settings)


def _run(said: str, results: Path, whole: bool) -> None:
    """Run a scenario and store its folder in ``results``; exit unless it passed, failed a gate or is inconclusive.

    ``whole`` also prints the run's results. The run's progress and errors always go to standard error.
    """
    command = subprocesses.command("loadgen", "run", *shlex.split(said), *arguments(results=results))
    with ExitStack() as stack:
        stdout = None if whole else stack.enter_context(Path(os.devnull).open("wb"))
        child = stack.enter_context(
            subprocesses.Supervised(command, subprocesses.environment(), stdout=stdout)
        )
        code = child.wait()
    if code not in (ExitCode.PASSED, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE):
        raise typer.Exit(code if code > 0 else int(ExitCode.INCONCLUSIVE))


def _told(made: "Profile", folder: Path) -> str:
    """Return a line about a run: its verdict, its main figures, and where its report is."""
    from analysis.compare.outputs import figure

    figures = (("p50", "delivery.latency.p50"), ("p99", "delivery.latency.p99"), ("", "delivery.rate"))
    said = ", ".join(f"{name} {figure(metric, made.figures.get(metric))}".strip() for name, metric in figures)
    report = folder / "report.html"
    return f"  {made.verdict}, {said}; report: {report if report.exists() else folder}"


def _read_more(folder: Path, known: "list[Profile]") -> "list[Profile]":
    """Read the folder's runs that are not in ``known``, add them to ``known`` in order of creation, and return them."""
    from analysis.compare import profile
    from analysis.loading.run import ReadError
    from analysis.record.folders import runs_in

    names = {each.run for each in known}
    try:
        more = [one for path in runs_in(folder) if path.name not in names for one in profile.read(path)]
    except ReadError as error:
        fail(str(error))
    known += more
    known.sort(key=lambda each: each.created_ns)
    return more
