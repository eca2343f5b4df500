"""Speed of the harness compared with other tools and a minimal C reader, in one run, checked against the stated bars.

    python benchmarks/speed                    everything (about 15 minutes)
    python benchmarks/speed receive publish    these sections

Every figure is per CPU-second of the process that does the work. The bars are ratios within the run, so a slow or busy
machine affects both sides. Nothing else may run at the same time. The details of each section are printed when it is
done, and one table of all figures at the end. Ctrl-C ends the run and keeps the figures so far. A tool that fails or
hangs is reported, and the run continues. Exits with 1 if a bar is missed or a figure is wrong, with 130 after Ctrl-C.
Tools that are not installed are named: `python benchmarks/speed/peers.py` installs most of them.
"""

import argparse
import importlib
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

from rich.console import Console  # noqa: E402

from speed import peers, tables  # noqa: E402
from speed.section import Options, Section  # noqa: E402
from speed.surroundings import surroundings  # noqa: E402

#: Modules of this folder with a function `run(options) -> Section`, in the order in which they run.
SECTIONS = (
    *("receive", "receive_mqtt", "receive_nats", "publish", "connect", "recording", "workers"),
    *("subscribers", "server"),
)
INTERRUPTED = 130


def measure(name: str, options: Options) -> Section:
    """Run a section; if its function raises or is interrupted, return the section without figures."""
    try:
        section: Section = importlib.import_module(f"speed.{name}").run(options)
    except KeyboardInterrupt:
        return Section(name, (), interrupted=True)
    except Exception as error:  # if a section fails in any way, still measure the others
        return Section(name, (), failures=[f"{name}: {type(error).__name__}: {error}"])
    return section


def main() -> int:
    """Run the sections and print their tables; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default %(default)s)")
    parser.add_argument("--subscribers", type=int, default=500, help="default %(default)s")
    parser.add_argument(
        "--rounds",
        type=int,
        default=int(os.environ.get("BENCH_ROUNDS", "1")),
        help="of ours and of the limits (default: BENCH_ROUNDS or 1)",
    )
    parser.add_argument(
        "--only",
        default=os.environ.get("BENCH_ONLY", ""),
        metavar="WORDS",
        help="only receivers with one of these words in their names, such as k6,ours (default: BENCH_ONLY)",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures there after each section"
    )
    parser.add_argument(
        "--checkout",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="measure this too, its native part built, in turns (only in: connect); repeatable",
    )
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.sections if name not in SECTIONS]:
        parser.error(f"no section {unknown[0]!r}: there are {', '.join(SECTIONS)}")
    # When the output goes to a file, use 150 columns, which is wide enough for the tables.
    console = Console(width=None if sys.stdout.isatty() else 150)
    sections: dict[str, Section] = {}
    began = time.monotonic()
    head = {"format": tables.FORMAT, **surroundings(), "tools": peers.versions()}
    head["options"] = {
        "seconds": arguments.seconds, "subscribers": arguments.subscribers, "rounds": arguments.rounds
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="loadgen-speed-", ignore_cleanup_errors=True) as folder:
        options = Options(
            arguments.seconds,
            arguments.subscribers,
            Path(folder),
            arguments.checkout,
            arguments.rounds,
            [word for word in arguments.only.split(",") if word],
        )
        for name in arguments.sections or SECTIONS:
            section = sections[name] = measure(name, options)
            if section.rows:
                tables.show(console, section)
            else:
                tables.show_errors(console, section)
            if arguments.json:
                seconds = time.monotonic() - began
                kept = {**head, "seconds": seconds, "sections": tables.for_json(sections)}
                arguments.json.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            if section.interrupted:
                console.print(f"interrupted in {name}", markup=False)
                break
    tables.show_figures(console, list(sections.values()))
    good = tables.show_bars(console, (bar for section in sections.values() for bar in section.bars))
    said = ", ".join(f"{name} {version}" for name, version in head["tools"].items() if version)
    missing = "; ".join(filter(None, map(peers.why_missing, head["tools"])))
    console.print(
        f"{time.monotonic() - began:.0f} s on {platform.platform()}, Python {platform.python_version()}, "
        f"commit {head['commit']}\ntools: {said}\nmissing: {missing or 'none'}",
        markup=False,
    )
    if any(section.interrupted for section in sections.values()):
        return INTERRUPTED
    return 0 if good and not any(section.failures for section in sections.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
