"""`loadgen compare`, `baseline` and `verify`: one build against another, and a report against its record."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadgen.cli.app import app, fail
from loadgen.run.exits import ExitCode


@app.command()
def compare(
    base: Annotated[Path, typer.Argument(help="A run's folder, a folder of runs, or a baseline file.")],
    new: Annotated[Path, typer.Argument(help="The same, of what is to be judged.")],
    min_effect: Annotated[
        float, typer.Option(help="Smallest change that matters, in per cent.", min=0.1, max=100)
    ] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare two sets of runs of one scenario: better, worse, same, or can't tell.

    Take the runs in turns (base, new, base, new …), three or more a side.

    Exit codes: 0 same or better, 1 worse, 2 usage, 3 can't tell.
    """
    from analysis.compare import outputs, profile
    from analysis.compare.decide import UNKNOWN, WORSE
    from analysis.compare.decide import compare as decide
    from analysis.run import RunError

    try:
        before, after = profile.read(base), profile.read(new)
    except RunError as error:
        fail(str(error))
    differences = decide(before, after, min_effect / 100)
    verdict = outputs.overall(differences)
    if as_json:
        content = {
            "verdict": verdict,
            "doubts": outputs.doubts(before, after),
            "metrics": [difference.to_dict() for difference in differences],
        }
        print(json.dumps(content, indent=1))
    else:
        outputs.show(Console(highlight=False), before, after, differences)
    codes = {WORSE: ExitCode.GATE_FAILED, UNKNOWN: ExitCode.INCONCLUSIVE}
    raise typer.Exit(int(codes.get(verdict, ExitCode.PASSED)))


@app.command()
def baseline(
    runs: Annotated[Path, typer.Argument(help="A run's folder, or a folder of runs.")],
    file: Annotated[
        Path, typer.Argument(help="Where to write the baseline, such as baselines/comments.json.")
    ],
) -> None:
    """Boil runs down to a small file that can be committed, for `loadgen compare`."""
    from analysis.compare import profile
    from analysis.run import RunError

    try:
        profiles = profile.read(runs)
        profile.write(file, profiles)
    except RunError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    print(f"{len(profiles)} runs, {file.stat().st_size / 1024:.0f} KB: {file}")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A run's folder.")]) -> None:
    """Recompute every number of a run's summary, report, JUnit file and Markdown from its tables, and compare.

    The chief figures are also computed a second way, in SQL. Exit codes: 0 all agree, 2 usage, 3 something disagrees.
    """
    from analysis.run import RunError, load
    from analysis.verify.check import sentences
    from analysis.verify.check import verify as check

    try:
        found = check(load(folder))
    except RunError as error:
        fail(str(error))
    for line in sentences(found):
        print(line)
    print("all agree" if found.agrees else f"{len(found.disagreements)} disagree")
    raise typer.Exit(0 if found.agrees else int(ExitCode.INCONCLUSIVE))
