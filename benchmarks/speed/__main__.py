"""Speed of the harness compared with other tools and a minimal C reader, in one run, checked against the stated bars.

    python benchmarks/speed                    everything
    python benchmarks/speed receive publish    these sections

Every figure is per CPU-second of the process that does the work. The bars are ratios within the run, so a slow or busy
machine affects both sides. Nothing else may run at the same time. Exits with 1 if a bar is missed or a figure is wrong.
Tools that are not installed are named.
"""

import argparse
import importlib
import platform
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from speed.section import Options, Section  # noqa: E402

#: Modules of this folder with a function `run(options) -> Section`, in the order in which they run.
SECTIONS = ("receive", "recording", "workers", "publish", "connect", "subscribers", "server")


def show(console: Console, section: Section) -> None:
    """Print one section."""
    table = Table(title=section.title, title_justify="left", caption=section.note, caption_justify="left")
    for number, column in enumerate(section.columns):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in section.rows:
        table.add_row(*row)
    console.print(table)
    for name in section.missing:
        console.print(f"  missing: {name}", markup=False)
    for failure in section.failures:
        console.print(f"  wrong: {failure}", markup=False)


def show_bars(console: Console, sections: list[Section]) -> bool:
    """Print all bars; return True if every bar is met."""
    table = Table(title="Bars", title_justify="left")
    for column in ("bar", "stated", "measured", ""):
        table.add_column(column, justify="left" if column in ("bar", "") else "right")
    good = True
    for bar in (bar for section in sections for bar in section.bars):
        good = good and bar.met is True
        verdict = {True: "met", False: "MISSED", None: "not measured"}[bar.met]
        measured = "–" if bar.value is None else f"{bar.value:,.2f}{bar.unit}"
        table.add_row(bar.name, f"{'≤' if bar.at_most else '≥'} {bar.bound:,g}{bar.unit}", measured, verdict)
    console.print(table)
    return good


def main() -> int:
    """Run the sections and print their tables; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure (default %(default)s)")
    parser.add_argument("--subscribers", type=int, default=500, help="default %(default)s")
    parser.add_argument(
        "--checkout",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="measure this too, its native part built, in turns (only in: connect); repeatable",
    )
    options = parser.parse_args()
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}: there are {', '.join(SECTIONS)}")
    # Wide enough for the tables where the output goes to a file.
    console = Console(width=None if sys.stdout.isatty() else 120)
    sections: list[Section] = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="loadgen-speed-") as folder:
        for name in options.sections or SECTIONS:
            module = importlib.import_module(f"speed.{name}")
            section = module.run(
                Options(options.seconds, options.subscribers, Path(folder), options.checkout)
            )
            show(console, section)
            sections.append(section)
    good = show_bars(console, sections)
    console.print(
        f"{time.monotonic() - began:.0f} s on {platform.platform()}, Python {platform.python_version()}",
        markup=False,
    )
    return 0 if good and not any(section.failures for section in sections) else 1


if __name__ == "__main__":
    sys.exit(main())
