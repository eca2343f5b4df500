"""Mutation tests: change the code that all figures depend on, and check that its tests notice each change.

    python -m benchmarks.mutants                          about 300 mutants, drawn with seed 20
    python -m benchmarks.mutants --area pacing --seed 3   one area, another sample

Makes one change at a time in a copy of the repository (with Cosmic Ray's operators), and runs the area's fast tests
until one fails. Exits with 1 if more than ``--most`` of the sample survives in any area, and with 2 if the tests fail
without a change. Needs the packages of the extra ``mutation``.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from .areas import AREAS, Area
from .equivalent import EQUIVALENT, Equivalent
from .sample import Mutant, drawn
from .trial import Outcome, run_tests, warm_up, write_module

TOP = Path(__file__).resolve().parents[2]
#: The parts of the repository that the tests need.
COPIED = ("analysis", "loadgen", "tests", "scenarios", "results/sample", "pyproject.toml", "locustfile.py")
IGNORED = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis", ".pytest_cache", "golden")


def copy_of(folder: Path) -> Path:
    """Copy the parts of the repository that the tests need into ``folder``; return it."""
    for each in COPIED:
        source, target = TOP / each, folder / each
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=IGNORED)
        else:
            shutil.copy2(source, target)
    return folder


def equivalent_of(mutant: Mutant) -> Equivalent | None:
    """Return a mutant's entry in the list `EQUIVALENT`, or None if it has none."""
    for each in EQUIVALENT:
        if (each.module, each.before, each.after) == (mutant.module, mutant.before, mutant.after):
            return each
    return None


def try_area(area: Area, copy: Path, count: int, seed: int, console: Console) -> list[tuple[Mutant, Outcome]]:
    """Return a sample of an area's mutants with their outcomes.

    Raises:
        RuntimeError: the tests fail on the unchanged code, or do not exist.
    """
    tests, skipped = area.tests, area.skipped
    if missing := [each for each in tests if not (copy / each).exists()]:
        raise RuntimeError(f"{area.name}: there is no {missing[0]}; name the tests anew in areas.py")
    (copy / "durations.json").unlink(missing_ok=True)
    # Run twice: the first run compiles the tests and measures how long each takes.
    for _ in range(2):
        unchanged = run_tests(copy, tests, skipped, 120)
    if unchanged.code != 0:
        raise RuntimeError(f"{area.name}: the tests fail unchanged:\n{(copy / 'output.txt').read_text()}")
    limit_s = 5 * unchanged.cpu_s + 5
    sources = {module: (copy / module).read_text(encoding="utf-8") for module in area.modules}
    mutants = drawn(copy, area.modules, count, seed)
    found = []
    begun = time.monotonic()
    for mutant in mutants:
        write_module(copy, mutant.module, mutant.source)
        ended = run_tests(copy, tests, skipped, limit_s)
        outcome = {0: Outcome.SURVIVED, None: Outcome.STOPPED}.get(ended.code, Outcome.KILLED)
        found.append((mutant, outcome))
        if outcome is Outcome.SURVIVED:
            console.print(f"survived: {mutant}", markup=False, highlight=False, soft_wrap=True)
        write_module(copy, mutant.module, sources[mutant.module])
    console.print(
        f"{area.name}: {len(mutants)} mutants in {time.monotonic() - begun:.0f} s;"
        f" the tests take {unchanged.cpu_s:.1f} s of CPU unchanged",
        highlight=False,
    )
    return found


def show(found: dict[str, list[tuple[Mutant, Outcome]]], console: Console) -> float:
    """Print the table; return the largest share of surviving mutants in any area, not counting equivalent mutants."""
    table = Table(title="Mutants", title_justify="left")
    for name in (
        "area",
        "drawn",
        "killed",
        "stopped",
        "survived",
        "equivalent",
        "surviving",
        "without equivalent",
    ):
        table.add_column(name, justify="left" if name == "area" else "right")
    worst = 0.0
    total: Counter[str] = Counter()
    for name, results in [*found.items(), ("all", [])]:
        counts = Counter(str(outcome) for _, outcome in results)
        counts["drawn"] = len(results)
        counts["equivalent"] = sum(
            outcome is Outcome.SURVIVED and equivalent_of(mutant) is not None for mutant, outcome in results
        )
        if name == "all":
            counts = total
        else:
            total += counts
        share = counts["survived"] / max(counts["drawn"], 1)
        meant = (counts["survived"] - counts["equivalent"]) / max(counts["drawn"] - counts["equivalent"], 1)
        worst = max(worst, meant)
        cells = [str(counts[each]) for each in ("drawn", "killed", "stopped", "survived", "equivalent")]
        table.add_row(name, *cells, f"{share:.1%}", f"{meant:.1%}")
    console.print(table)
    return worst


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=20, help="draws the sample (default: 20)")
    parser.add_argument(
        "--sample", type=int, default=300, help="mutants of all areas together (default: 300)"
    )
    parser.add_argument("--most", type=float, default=0.1, help="the largest surviving share (default: 0.1)")
    parser.add_argument(
        "--area",
        action="append",
        choices=[area.name for area in AREAS],
        help="this one only; may be repeated",
    )
    parser.add_argument("--json", type=Path, help="write every mutant and its outcome to this file")
    chosen = parser.parse_args(arguments)
    console = Console(width=120)
    areas = [area for area in AREAS if chosen.area is None or area.name in chosen.area]
    each = -(-chosen.sample // len(AREAS))
    warm_up()
    found: dict[str, list[tuple[Mutant, Outcome]]] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = copy_of(Path(folder))
        for area in areas:
            try:
                found[area.name] = try_area(area, copy, each, chosen.seed, console)
            except RuntimeError as error:
                console.print(str(error), markup=False)
                return 2
    worst = show(found, console)
    if chosen.json is not None:
        chosen.json.write_text(
            json.dumps(
                [
                    {"area": name, "mutant": str(mutant), "outcome": outcome}
                    for name, results in found.items()
                    for mutant, outcome in results
                ],
                indent=1,
            )
        )
    return 1 if worst > chosen.most else 0


if __name__ == "__main__":
    sys.exit(main())
