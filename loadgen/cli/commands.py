"""Load only the module of the command that is called.

Loading and building all commands takes a tenth of a second, which is too long for short commands.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

#: The commands in the groups and the order in which `loadgen --help` lists them.
GROUPS: Final = {
    "Run": ("run", "ab", "capacity", "choose", "join", "keys"),
    "Understand": (
        "report",
        "open",
        "fetch",
        "compare",
        "baseline",
        "history",
        "notebook",
        "verify",
        "calibrate",
    ),
    "Plan": ("new", "scenarios", "plan", "doctor", "schema"),
    "Serve and try": ("serve", "probe", "publish", "subscribe"),
    "AWS": ("aws",),
}
#: Commands by the module of `loadgen.cli` that registers them, except the commands of `loadgen.cli.app`.
COMMANDS: Final = {
    "aws": ("aws",),
    "capacity": ("capacity",),
    "choose": ("choose",),
    "client": ("publish", "subscribe", "probe"),
    "compare": ("compare", "baseline", "history", "ab"),
    "doctor": ("doctor",),
    "fetch": ("fetch",),
    "join": ("join",),
    "keys": ("keys",),
    "new": ("new",),
    "notebook": ("notebook",),
    "open": ("open",),
    "plan": ("plan",),
    "scenarios": ("scenarios",),
    "serve": ("serve",),
    "verify": ("verify",),
}
#: Commands that `loadgen.cli.app` registers. They are always loaded.
ALWAYS: Final = ("run", "schema", "report", "calibrate", "version")
_NONE: Final = ("--version", "-V")


def load(arguments: Sequence[str]) -> Any:
    """Return the application with the command that the first argument names, or with all commands if it names none."""
    first = arguments[0] if arguments else ""
    of_first = [module for module, names in COMMANDS.items() if first in names]
    if first not in (*ALWAYS, *_NONE):
        for module in of_first or COMMANDS:
            import_module(f"loadgen.cli.{module}")
    return import_module("loadgen.cli.app").app
