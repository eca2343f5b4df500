"""Fetch CloudWatch's metrics of a run and compare them with the run's figures."""

from pathlib import Path
from typing import Any

from rich.text import Text

from analysis.console import screen, sentence
from loadgen.aws.access import Access
from loadgen.exits import ExitCode, RunError


def fetch_metrics(folder: Path, access: Access, api_id: str | None = None, wait: bool = False) -> None:
    """Fetch and store CloudWatch's metrics of a run, rewrite the report, and print CloudWatch's counts beside the
    run's.

    Raises:
        RunError: the metrics cannot be fetched or written; `code` is the exit code.
    """
    import analysis
    from analysis.__main__ import write
    from loadgen.aws import metrics as cloudwatch

    try:
        run = analysis.load(folder)
        source, session = cloudwatch.source_of(run, access, api_id)
        content = cloudwatch.collect(
            session.client("cloudwatch"), source, wait, lambda line: print(line, flush=True)
        )
        cloudwatch.keep(folder, content)
        summary = analysis.summarise(run)
        if unwritten := write(run, summary):
            raise RunError("\n".join(unwritten), ExitCode.INCONCLUSIVE)
    except analysis.ReadError as error:
        raise RunError(str(error), ExitCode.USAGE) from None
    except cloudwatch.NotThereYetError as error:
        raise RunError(str(error), ExitCode.INCONCLUSIVE) from None
    except OSError as error:
        raise RunError(f"{folder} cannot be written: {error.strerror}", ExitCode.USAGE) from None
    _compare(summary)
    print(f"report: {folder / 'report.html'}")


def _compare(summary: dict[str, object]) -> None:
    from rich.table import Table

    from analysis.figures import cloudwatch

    found: Any = summary["cloudwatch"]
    console = screen()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for name in ("ours", "theirs", "theirs − ours", "of ours"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in found["rows"]:
        table.add_row(row["name"], *cloudwatch.cells(row))
    sentence(console, Text(f"CloudWatch, {cloudwatch.when(found)}", "bold"))
    console.print(table)
