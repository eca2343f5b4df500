"""`loadgen fetch`: bring the rows of a run home from where its workers stored them."""

from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli.app import PartsFromOption, app, fail, trust_parts
from loadgen.exits import ExitCode, RunError, why


@app.command()
def fetch(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    parts_from: PartsFromOption = None,
) -> None:
    """Bring a run's rows home from where its workers stored them.

    For runs with `--spool-to`. Afterwards the folder is a complete record that needs no storage. Every row is checked
    against the record's checksums. Nothing is removed from the storage.

    Exit codes: 0 the rows are in the folder, 2 usage, or they cannot be read, 3 they cannot be written.
    """
    from analysis.loading.run import FORMATS
    from analysis.record import home, manifest
    from loadgen.run.record import RunFolder

    trust_parts(parts_from)
    try:
        parts = home.away(run, manifest.read(run, FORMATS))
        if parts is None:
            print(f"the rows are here already: {run}")
            return
        folder = RunFolder.open(run)
        home.write(run, parts, home.storage_of(run, parts), run)
        folder.rows_are_here()
    except manifest.ManifestError as error:
        fail(f"{run} {error}")
    except home.AwayError as error:
        fail(str(error))
    except RunError as error:
        fail(str(error), error.code)
    except OSError as error:
        fail(f"{run}: the rows cannot be written ({why(error)}): make room", ExitCode.INCONCLUSIVE)
    rows = sum(part.rows for part in parts.streams)
    print(f"{rows:,} rows of {len({part.worker for part in parts.streams})} workers: {run}")
