"""`loadgen doctor`: look at this machine before a run."""

import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from analysis.console import screen, sentence
from loadgen.cli.app import app

_SIGNS = {
    "good": Text("✓", "green"),
    "limited": Text("!", "yellow"),
    "bad": Text("✗", "red"),
    "unknown": Text("·", "dim"),
}


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find what limits or spoils runs on this machine.

    Each finding comes with a remedy. The command changes nothing. A finding marked `!` limits the size or the exactness
    of runs. A finding marked `✗` makes the results of runs doubtful. Exit code: 0.
    """
    from loadgen.planning.doctor import examine

    found = list(examine())
    if as_json:
        print(json.dumps([each.to_dict() for each in found], indent=1, ensure_ascii=False))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in found:
        said = Text(each.found)
        if each.advice is not None:
            said.append(f"\n{each.advice}", "yellow")
        table.add_row(_SIGNS[each.state], each.name, said)
    console = screen()
    console.print()
    console.print(table)
    console.print()
    amiss = sum(each.state in ("limited", "bad") for each in found)
    sentence(
        console,
        Text("nothing to mend", "green")
        if not amiss
        else "1 thing to mend, if you need what it limits"
        if amiss == 1
        else f"{amiss} things to mend, if you need what they limit",
    )
