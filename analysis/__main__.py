"""`python -m analysis finish RUN`: summary, report and the tables in the terminal."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.run import Run, RunError, load
from analysis.summary import summarise

_USAGE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 2 with one sentence where the folder is not a run."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis", description="Figures and report of a run's folder."
    )
    parser.add_argument("command", choices=("finish", "report", "summary"))
    parser.add_argument("run", type=Path)
    parser.add_argument("--no-report", action="store_true", help="with finish: draw no report.html")
    options = parser.parse_args(arguments)
    try:
        run = load(options.run)
        if options.command == "report":
            write(run)
        else:
            finish(run, write_files=options.command == "finish", report=not options.no_report)
    except RunError as error:
        print(f"analysis: {error}", file=sys.stderr)
        return _USAGE
    except OSError as error:
        print(f"analysis: {options.run} cannot be written: {error.strerror or error}", file=sys.stderr)
        return _USAGE
    return 0


def finish(run: Run, *, write_files: bool, report: bool = True) -> None:
    """Print the summary; with ``write_files`` write it and the report first, and end with the report's path."""
    from rich.console import Console

    from analysis.terminal import print_summary

    summary = write(run, report=report) if write_files else summarise(run)
    console = Console(highlight=False)
    print_summary(summary, console)
    if write_files:
        # Plain: a path that rich has wrapped cannot be clicked or copied.
        print(f"report: {run.path / 'report.html'}" if report else f"results: {run.path}")


def write(run: Run, *, report: bool = True) -> dict[str, object]:
    """Write summary.json, report.html, junit.xml and summary.md, each whole or not at all; return the summary.

    Without ``report``, a report of an earlier reckoning goes: it might say something else.
    """
    from analysis import derived
    from analysis.gates.outputs import junit, markdown

    summary = summarise(run)
    derived.write(run)
    _replace(run.path / "summary.json", json.dumps(summary, indent=1) + "\n")
    if report:
        from analysis.report import render

        _replace(run.path / "report.html", render(run, summary))
    else:
        (run.path / "report.html").unlink(missing_ok=True)
    _replace(run.path / "junit.xml", junit(summary))
    _replace(run.path / "summary.md", markdown(summary))
    return summary


def _replace(path: Path, content: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
