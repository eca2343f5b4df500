"""`loadgen join`: create the keys of a distributed run."""

from pathlib import Path
from typing import Annotated

import typer

from loadgen.cli.app import app, fail
from loadgen.exits import RunError


@app.command()
def join(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Key file for the workers; the master's is written to FILE.master.", metavar="FILE"
        ),
    ] = None,
) -> None:
    """Create the keys for workers to join a master.

    With FILE, the workers' key is written to FILE and the master's key to FILE.master. Without FILE, the keys are
    printed as two lines for an environment file: LOADGEN_JOIN_MASTER and LOADGEN_JOIN_WORKER.
    """
    from loadgen.run import join as keys
    from loadgen.run.options import JOIN_MASTER, JOIN_WORKER

    made = keys.make()
    if file is None:
        typer.echo(f"{JOIN_MASTER}={made.master.text()}")
        typer.echo(f"{JOIN_WORKER}={made.worker.text()}")
        return
    try:
        keys.write(file, made)
    except RunError as error:
        fail(str(error), error.code)
    typer.echo(f"{file}: copy it to the workers. {keys.master_path(file)}: the master's own, keep it there.")
