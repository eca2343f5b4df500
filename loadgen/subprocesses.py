"""Start modules of this package as child processes, forward signals to them, and leave none behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final, Self

import psutil

from analysis.record import files
from loadgen.lifeline import STARTER, adopt_orphans
from loadgen.search_path import PACKAGE_PARENT, absolute_entries

#: Signals on which a run ends in an orderly way.
ENDING_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: At this many ending signals the child gets SIGKILL: it did not end at the earlier ones, so it is stuck.
_PATIENCE: Final = 4
_LEFT_OVER_S: Final = 1.0


def command(module: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module; `-P` keeps files in the working directory from shadowing it."""
    return [sys.executable, "-P", "-m", "loadgen.child", module, *arguments]


def environment() -> dict[str, str]:
    """Return the environment variables for a child.

    The child finds our modules even if the project is not installed, but imports nothing from the working directory.
    The child ends when this process ends. Whatever the locale, it reads files as UTF-8 and writes to the terminal in
    the encoding of this process.
    """
    paths = [PACKAGE_PARENT, *absolute_entries(os.environ.get("PYTHONPATH"))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        STARTER: str(os.getpid()),
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": f"{getattr(sys.stdout, 'encoding', None) or 'utf-8'}:replace",
    }


@contextmanager
def held_signals() -> Iterator[None]:
    """Block SIGINT, SIGTERM and SIGHUP during a `with` block; a child started there unblocks them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Supervised:
    """A child in its own process group, to which this process forwards the signals that it receives.

    The child thus receives a Ctrl-C once, whether it came from the terminal or from `kill`. ``to_group`` forwards
    signals to the child's whole group, for a child that only waits for its own children.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        *,
        to_group: bool = False,
        pass_fds: Sequence[int] = (),
        stdout: IO[bytes] | None = None,
        stderr: IO[bytes] | None = None,
    ) -> None:
        self._to_group = to_group
        self._before: dict[int, Any] = {}
        #: Ending signals that this process has received so far.
        self.interrupts = 0
        adopt_orphans()
        # The child starts with these signals blocked, and unblocks them when it is able to handle them.
        with held_signals():
            self.process = subprocess.Popen(  # noqa: S603  ours
                list(arguments),
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                process_group=0,
            )
            self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
            self.process.wait()
        leave_none()

    def wait(self) -> int:
        """Wait for the child to end; return its exit code, or the negative number of the signal that ended it."""
        return self.process.wait()

    def _listen(self) -> None:
        handlers = dict.fromkeys(ENDING_SIGNALS, self._pass_on)
        handlers |= {signal.SIGTSTP: self._stop, signal.SIGCONT: self._go_on}
        for number, handler in handlers.items():
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                self._before[number] = before
                signal.signal(number, handler)

    def _pass_on(self, _number: int, _frame: FrameType | None) -> None:
        self.interrupts += 1
        self._signal(signal.SIGINT if self.interrupts < _PATIENCE else signal.SIGKILL)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Stop the child too on Ctrl-Z: the terminal stops only this process's group."""
        self._signal(signal.SIGSTOP, group=True)
        os.kill(os.getpid(), signal.SIGSTOP)

    def _go_on(self, _number: int, _frame: FrameType | None) -> None:
        self._signal(signal.SIGCONT, group=True)

    def _signal(self, number: int, *, group: bool = False) -> None:
        if self.process.returncode is not None:
            return
        # Do not use Popen.send_signal: it would wait for a lock that the `wait` interrupted by this signal may hold.
        with suppress(ProcessLookupError, PermissionError):
            if group or self._to_group or number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                os.kill(self.process.pid, number)


def logged(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> tuple[int, bool]:
    """Run a child with all its output in a file; return its exit code, and True if the user interrupted it.

    Raises:
        OSError: the file cannot be written.
    """
    with (
        files.fresh(log).open("wb") as output,
        Supervised(arguments, env, stdout=output, stderr=output) as child,
    ):
        code = child.wait()
    return code, child.interrupts > 0


def last_words(log: Path) -> str:
    """Return the last line of a file that `logged` has written, or an empty text if there is none."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip() if lines else ""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on now, for a child that must be told its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leave_none() -> None:
    """Wait up to 1 s for the remaining descendants of this process, adopted orphans included, then kill them."""
    deadline_s = time.monotonic() + _LEFT_OVER_S
    while (left := _descendants()) and time.monotonic() < deadline_s:
        time.sleep(0.02)
    for process in left:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=_LEFT_OVER_S)


def _descendants() -> list[psutil.Process]:
    """Return the living descendants of this process; reap adopted orphans that have ended."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error, ChildProcessError):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
            elif process.ppid() == os.getpid():
                os.waitpid(process.pid, os.WNOHANG)
    return found
