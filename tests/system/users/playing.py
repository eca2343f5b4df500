"""Run scripts, each in a fork of a process that has imported Locust and our user classes.

Importing them takes 1.5 s, and a process cannot be used for a second script, because a script adds listeners,
patches modules and ends its process. The process reads one line of JSON for each script, and writes one line
with the result.
"""

import gc
import json
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, Self

# ruff: noqa: F401
import locust.env

import loadgen.run.account
import loadgen.run.locust.own_code
import loadgen.users
from loadgen import subprocesses
from loadgen.lifeline import STARTER

#: Modules of the commands, imported only if the command line asks for them.
COMMANDS = (
    *(
        "loadgen.cli.app",
        "loadgen.cli.aws",
        "loadgen.cli.capacity",
        "loadgen.cli.client",
        "loadgen.cli.compare",
    ),
    *(
        "loadgen.cli.join",
        "loadgen.cli.launch",
        "loadgen.cli.notebook",
        "loadgen.cli.plan",
        "loadgen.cli.scenarios",
    ),
    *("loadgen.cli.serve", "loadgen.cli.verify", "loadgen.run.install", "locust.main"),
)


def main() -> None:
    """Fork for each script named on standard input, and write how it ended."""
    for name in COMMANDS if "commands" in sys.argv else ():
        import_module(name)
    # A garbage collection in a fork leaves frozen objects alone, so that their memory stays shared.
    gc.freeze()
    asked = sys.stdin.fileno()
    rest = b""
    while True:
        while b"\n" not in rest:
            if not (part := os.read(asked, 65536)):
                return
            rest += part
        line, _, rest = rest.partition(b"\n")
        script, out, err = json.loads(line)
        child = os.fork()
        if child == 0:
            play(Path(script), Path(out), Path(err))
            return
        _, status = os.waitpid(child, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


def play(script: Path, out: Path, err: Path) -> None:
    """Run a script in this process as `python SCRIPT` would, with ``out`` and ``err`` as its output and error files."""
    for path, number in ((out, 1), (err, 2)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.chdir(script.parent)
    sys.path[0] = str(script.parent)
    sys.argv = [str(script)]
    # An exception of the script ends this forked process as usual, even if the script replaced `sys.excepthook`.
    runpy.run_path(str(script), run_name="__main__")


class Forked:
    """Stands in for `children.Supervised`: the Locust of a `loadgen run`, but started as a fork."""

    interrupts = 0

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str], **_: Any) -> None:
        at = list(arguments).index("loadgen.child")
        assert arguments[at + 1] == "locust"
        self._child = os.fork()
        if self._child == 0:
            os.environ.update({name: value for name, value in env.items() if name != STARTER})
            sys.argv = list(arguments[at + 1 :])
            ended("locust of ours")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])


def by_forks() -> None:
    """Make `loadgen run` start its Locust as a fork of this process."""
    subprocesses.Supervised = Forked  # type: ignore[assignment,misc]


def ended(program: str) -> NoReturn:
    """Run a program with the arguments in `sys.argv`, and exit with its exit code."""
    code: Any = 0
    try:
        if program == "loadgen":
            import_module("loadgen.cli").main()
        elif program == "locust":
            code = import_module("locust.main").main()
        else:
            import_module("loadgen.run.start_locust").start()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main()
