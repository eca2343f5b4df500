"""Plays scripts, each in a fork of its own of a process that has imported Locust and our user classes.

To import them takes a second and a half, and a process that has played a script may be of no use to the next: a script
adds listeners, patches and ends its process. One line of JSON comes for each script to play, and one goes back.
"""

import gc
import json
import os
import runpy
import sys
import traceback
from pathlib import Path

# ruff: noqa: F401
import locust.env

import loadgen.run.account
import loadgen.run.own_code
import loadgen.users


def main() -> None:
    """Fork for each script that standard input names, and say how it ended."""
    # What is there already is looked at in no fork: pages stay shared.
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
    """Become the program that `python SCRIPT` is, with these files for its standard output and error."""
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
    # What it raises ends this process as it ends any: `sys.excepthook` may have been replaced by then.
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
