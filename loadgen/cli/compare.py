"""`loadgen compare`, `baseline`, `history` and `ab`: compare builds, services or settings."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from analysis import extras
from analysis.console import screen
from loadgen import subprocesses
from loadgen.cli.app import app, fail
from loadgen.cli.parameters import arguments
from loadgen.exits import ExitCode


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
) -> None:
    """Compare two sets of runs: better, worse, same, or can't tell.

    Both sets should be of one scenario, with three or more runs each, made in turns (base, new, base, new …). If they
    are of different services, the comparison names the services and lists the other differences.

    Exit codes: 0 same or better, 1 worse, 2 usage, 3 can't tell.
    """
    extras.require("compare", "loadgen compare")
    from analysis.compare import outputs, profile
    from analysis.compare.content import Settings, Side, content
    from analysis.compare.decide import UNKNOWN, WORSE
    from analysis.loading.run import ReadError

    try:
        before, after = profile.read(base), profile.read(new)
    except ReadError as error:
        fail(str(error))
    settings = Settings(min_effect / 100)
    differences = settings.differences(before, after)
    verdict = outputs.overall(differences)
    found = content(Side.read_from(base, before), Side.read_from(new, after), settings, differences)
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
    raise typer.Exit(int(codes.get(verdict, ExitCode.PASSED)))


@app.command()
def baseline(
    runs: Annotated[Path, typer.Argument(help="Run folder, or folder of runs.")],
    file: Annotated[Path, typer.Argument(help="Baseline file to write, such as baselines/comments.json.")],
) -> None:
    """Save runs as a small baseline file to commit."""
    from analysis.compare import profile
    from analysis.loading.run import ReadError

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
) -> None:
    """Find changes of a metric's level over many runs.

    Needs at least six runs of one scenario. Exit codes: 0 no change or only for the better, 1 a change for the worse,
    2 usage.
    """
    extras.require("compare", "loadgen history")
    from analysis.compare import outputs, profile
    from analysis.compare.history import changes
    from analysis.loading.run import ReadError

    try:
        profiles = [found for path in runs for found in profile.read(path)]
    except ReadError as error:
        fail(str(error))
    profiles.sort(key=lambda found: found.created_ns)
    found = changes(profiles, min_effect / 100)
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
    repeats: Annotated[int, typer.Option(help="Runs of each side.", min=2, max=100)] = 5,
    results: Annotated[Path, typer.Option(help="Folder for the runs, in base/ and new/.")] = Path(
        "results/ab"
    ),
    min_effect: Annotated[
        float, typer.Option(help="Smallest change that matters, in per cent.", min=0.1, max=100)
    ] = 5.0,
) -> None:
    """Run two variants in turns and compare them.

    For example: `loadgen ab comments "comments --set seed=2"`. A run that fails ends the command, unless it only fails
    a gate or is inconclusive. Exit codes: those of `loadgen compare`, or that of the run that failed.
    """
    extras.require("compare", "loadgen ab")
    for side in ("base", "new"):
        if (results / side).exists() and any((results / side).iterdir()):
            fail(f"{results / side} has runs in it already: choose another folder with --results")
    for turn in range(repeats):
        # Every second pair runs in reverse order, so that steady drift affects both sides alike.
        pair = [("base", base), ("new", new)]
        for side, said in pair if turn % 2 == 0 else reversed(pair):
            print(f"{side}, run {turn + 1} of {repeats}", flush=True)
            command = subprocesses.command(
                "loadgen", "run", *shlex.split(said), *arguments(results=results / side)
            )
            with subprocesses.Supervised(command, subprocesses.environment()) as child:
                code = child.wait()
            if code not in (ExitCode.PASSED, ExitCode.GATE_FAILED, ExitCode.INCONCLUSIVE):
                raise typer.Exit(code if code > 0 else int(ExitCode.INCONCLUSIVE))
    compare(results / "base", results / "new", min_effect, as_json=False)
