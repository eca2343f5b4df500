"""Run scripts and commands in forks of one process that has imported Locust: see `playing`."""

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.paths import REPO
from tests.system.harness import STUCK_S


@dataclass(frozen=True)
class Played:
    """The exit code and output of a script."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def sentences(self) -> list[str]:
        """Lines on standard error without loadgen's notes, since other load on the machine causes some of them."""
        return [line for line in self.err.splitlines() if line and not line.startswith("loadgen: note: ")]


class Player:
    """Runs scripts, each in a fork of one process that has already imported Locust (see `playing`)."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def play(self, script: Path) -> Played:
        out, err = script.with_suffix(".out"), script.with_suffix(".err")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(script), str(out), str(err)]).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], STUCK_S)[0]:
            self._process.kill()
            raise AssertionError(f"still playing after {STUCK_S} s\n{out.read_text()}\n{err.read_text()}")
        code = self._process.stdout.readline()
        assert code, "the process that plays the scripts has ended"
        return Played(int(code), out.read_text(), err.read_text())

    def command(
        self,
        folder: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path = REPO,
        open_files: int = 0,
    ) -> Played:
        """Run `loadgen` or `locust` in a working directory; ``folder`` is for the script and its output.

        The only difference from a separate process is that `loadgen run` forks its Locust. ``open_files``
        limits the number of open files.
        """
        # The script is outside of the folder in which the command may look for files.
        script = Path(tempfile.mkdtemp(dir=folder.parent)) / "command.py"
        environment = {**os.environ, **(env or {})}
        script.write_text(
            _COMMAND.format(
                environment=environment, cwd=str(cwd), arguments=list(arguments), open_files=open_files
            )
        )
        return self.play(script)


_COMMAND = """
import os, resource, sys
if {open_files}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({open_files}, {open_files}))
os.environ.update({environment!r})
os.chdir({cwd!r})
sys.argv = {arguments!r}
sys.path[0] = os.getcwd()
from tests.system.users.playing import by_forks, ended
by_forks()
ended(sys.argv[0])
"""


@contextmanager
def playing(*, commands: bool = False) -> Iterator[Player]:
    """Run the process that forks for each script; with ``commands`` it imports the modules of loadgen's commands."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.system.users.playing", *(["commands"] if commands else [])],
        cwd=REPO,
        env={"PYTHONPATH": str(REPO), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        yield Player(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(STUCK_S) == 0
