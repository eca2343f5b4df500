"""`python -m analysis finish RUN`: write summary and report, and print the tables in the terminal."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

from analysis import heap
from analysis.console import protect_output
from analysis.garbage import loading

if TYPE_CHECKING:
    from analysis.loading.run import Run

_USAGE, _INCONCLUSIVE, _INTERRUPTED = 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    0: success; 2: the folder is not a readable run; 3: an output could not be written, memory ran out or the program
    hit a defect; 130: interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Figures and report of a run's folder."
    )
    parser.add_argument("command", choices=("finish", "report", "summary"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--no-report", action="store_true", help="with finish: draw no report.html")
    parser.add_argument(
        "--show", choices=("all", "verdict", "json"), default="all", help="what to print of the summary"
    )
    options = parser.parse_args(arguments)
    try:
        return _run(options)
    except MemoryError:
        _say("out of memory")
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        if os.environ.get("LOADGEN_DEBUG"):
            raise
        frame = extract_tb(error.__traceback__)[-1]
        _say(
            f"a defect, please report it: {type(error).__name__}: {error} at {frame.filename}:{frame.lineno}"
            " (LOADGEN_DEBUG=1 shows where it came from)"
        )
    return _INCONCLUSIVE


def _run(options: argparse.Namespace) -> int:
    # Imported here so that main() also reports errors raised while pyarrow loads.
    with loading():
        import pyarrow as pa

        from analysis import without_pandas
        from analysis.loading.run import ReadError, load
        from analysis.summary import summarise

    without_pandas.spare()
    try:
        run = load(options.run)
        summary = summarise(run)
    except ReadError as error:
        _say(str(error))
        return _USAGE
    except (pa.ArrowException, OSError) as error:
        # Only a damaged table raises these errors; an unreadable JSON file raises ReadError.
        _say(f"{options.run} holds a table that cannot be read: {' '.join(str(error).split())}")
        return _USAGE
    unwritten: list[str] = []
    if options.command != "summary":
        unwritten = write(run, summary, report=not options.no_report)
    if options.command != "report":
        _show(run, summary, options.show)
        if options.command == "finish" and not unwritten:
            where = run.path if options.no_report else run.path / "report.html"
            # Print without rich, which would wrap a long path, so that it could not be clicked or copied.
            said = f"{'results' if options.no_report else 'report'}: {where}"
            print(said, file=sys.stderr if options.show == "json" else sys.stdout, flush=True)
    for sentence in unwritten:
        _say(sentence)
    return _INCONCLUSIVE if unwritten else 0


def _show(run: "Run", summary: dict[str, Any], what: str) -> None:
    """Print the figures, the verdict alone, or the summary as JSON."""
    if what == "json":
        print(json.dumps(summary, indent=1), flush=True)
        return
    with loading():
        from analysis.console import screen
        from analysis.report.terminal import print_summary, print_verdict

    (print_summary if what == "all" else print_verdict)(summary, screen())


def write(run: "Run", summary: dict[str, Any], *, report: bool = True) -> list[str]:
    """Write summary.json and the files derived from it, each file whole or not at all.

    Returns a sentence for each file that could not be written. summary.json is written first because it holds the
    verdict. Without ``report``, an existing report.html is deleted: it may contradict the new summary.
    """
    with loading():
        from analysis.figures import derived
        from analysis.record import files
        from analysis.report.outputs import junit, markdown

    path, unwritten = run.path, []

    def draw() -> None:
        if report:
            # Imported here: a run without a report need not load matplotlib.
            with loading():
                from analysis.report.page import render

            files.replace(path / "report.html", render(run, summary))
        else:
            (path / "report.html").unlink(missing_ok=True)

    outputs: tuple[tuple[str, Callable[[], None]], ...] = (
        ("summary.json", lambda: files.replace(path / "summary.json", json.dumps(summary, indent=1) + "\n")),
        ("junit.xml", lambda: files.replace(path / "junit.xml", junit(summary))),
        ("summary.md", lambda: files.replace(path / "summary.md", markdown(summary))),
        ("fanout.parquet or ledger.parquet", lambda: derived.write(run)),
        ("report.html", draw),
    )
    for name, make in outputs:
        try:
            make()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            unwritten.append(f"{path / name} cannot be written: {reason}")
    return unwritten


def _say(sentence: str) -> None:
    shown = "".join(character if character.isprintable() else "?" for character in sentence)
    print(f"analysis: {shown}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    protect_output()
    heap.keep_freed()
    sys.exit(main())
