"""`loadgen new`: write a scenario or a locustfile to begin with."""

import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.cli.app import app, fail
from loadgen.config.text import NAME_FORM, NAME_PATTERN
from loadgen.scenario.starting import Kind

_SUFFIXES: Final = (".yaml", ".yml", ".py")


@app.command()
def new(
    name: Annotated[
        str, typer.Argument(help="Name of the file to write, here or with a path.", metavar="NAME")
    ],
    kind: Annotated[
        Kind | None,
        typer.Option(
            help="broadcast: one publishes and all read; rooms: people in rooms read and write; feeds: each client"
            " reads a channel of its own. Asked for if it is left out.",
        ),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            help="Clients that read; default: 200, or asked for.", min=1, max=1_000_000, metavar="NUMBER"
        ),
    ] = None,
    rate: Annotated[
        int | None,
        typer.Option(
            help="Events published a second in all; default: 20, or asked for.",
            min=1,
            max=1_000_000,
            metavar="NUMBER",
        ),
    ] = None,
    users: Annotated[
        bool,
        typer.Option(
            "--users", help="Write a locustfile with a user class, for load that your code decides."
        ),
    ] = False,
) -> None:
    """Write a commented scenario, or a locustfile, to begin with.

    On a terminal, the command asks for settings that no option gives. Exit codes: 0 written, 2 usage or the file
    exists.
    """
    from loadgen.scenario import ScenarioError
    from loadgen.scenario.starting import starter, write

    path = Path(name)
    suffix = path.suffix if path.suffix in _SUFFIXES else ""
    users = users or suffix == ".py"
    if users and suffix not in ("", ".py"):
        fail(f"--users writes a Python file: name it {path.with_suffix('.py')}")
    if not re.fullmatch(NAME_PATTERN, path.name.removesuffix(suffix)):
        fail(f"the name must be {NAME_FORM}, not {path.name!a}")
    file = path if suffix else path.with_name(f"{path.name}{'.py' if users else '.yaml'}")
    asking = _is_terminal() and not users
    if kind is None:
        kind = _asked_kind() if asking else Kind.BROADCAST
    if clients is None:
        clients = _asked("How many clients read?", 200) if asking else 200
    if rate is None:
        rate = _asked("How many events are published a second, in all?", 20) if asking else 20
    try:
        write(file, starter(file, kind, clients, rate))
    except ScenarioError as error:
        fail(str(error))
    size = f" --users {clients} --run-time 20s" if users else ""
    print(f"{file} is written; run it with `loadgen run {file}{size}`")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _asked_kind() -> Kind:
    print("What do the clients do?")
    for place, (each, said) in enumerate(_KINDS.items(), 1):
        print(f"  {place}  {each}: {said}")
    number: int = typer.prompt("Number", type=int, default=1)
    while not 1 <= number <= len(_KINDS):
        number = typer.prompt(f"Number, 1 to {len(_KINDS)}", type=int, default=1)
    return list(Kind)[number - 1]


def _asked(question: str, default: int) -> int:
    number: int = typer.prompt(question, type=int, default=default)
    while not 1 <= number <= 1_000_000:
        number = typer.prompt(f"{question} (1 to 1,000,000)", type=int, default=default)
    return number


_KINDS: Final = {
    Kind.BROADCAST: "one backend publishes, and all clients read",
    Kind.ROOMS: "people in rooms of 20 read and write",
    Kind.FEEDS: "each client reads a channel of its own, and a backend writes to one at a time",
}
