"""Decide a run's exit code; no other module does.

The code is *inconclusive* until a verdict is written: without a summary no run passes. Messages, dead processes and
signals can only make the code worse.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NoReturn

from loadgen import subprocesses
from loadgen.console import say
from loadgen.exits import ExitCode
from loadgen.run.kills import KillWatch, limit_here

#: Environment variable with the file descriptor over which a run reports its result to `loadgen run`, which started it.
STATUS_FD: Final = "LOADGEN_STATUS_FD"
SUMMARY: Final = "summary.json"
_POLL_S: Final = 0.01
#: Counts out-of-memory kills since this process began.
KILLS: Final = KillWatch()


class Shown(StrEnum):
    """The text that the report's subprocess prints to standard output."""

    ALL = "all"
    """The figures."""
    VERDICT = "verdict"
    """The verdict and where the results are."""
    JSON = "json"
    """The summary as JSON."""


def shown(options: Any) -> Shown:
    """Return the output that the options of a run select."""
    if options.summary_json:
        return Shown.JSON
    return Shown.VERDICT if options.quiet else Shown.ALL


@dataclass(frozen=True)
class Ending:
    """An exit code and the sentences to print with it; the default is the code of a run without a known result."""

    code: ExitCode = ExitCode.INCONCLUSIVE
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """The result of the process that makes the summary and the report."""

    #: The process's exit code, or -N if signal N ended the process, or None if the process was not started.
    returncode: int | None = None
    #: The run's exit code as the summary states it, or None if the process wrote no summary.
    verdict: ExitCode | None = None


def decide(
    folder: Path, own: ExitCode, analysis: Analysis, interrupted: bool, unwritten: str | None
) -> Ending:
    """Return the exit code of a run, and the sentences to print with it.

    Args:
        folder: the run folder, which the sentences name.
        own: the exit code of the run before its analysis.
        analysis: the result of the analysis.
        interrupted: True if the user asked to end the run or the making of its report.
        unwritten: the reason why the record could not be completed, or None.
    """
    later = f"`loadgen report {folder}` makes the report from the record"
    said = []
    if unwritten is not None:
        # The sentence in `unwritten` already says what to do, so add no advice.
        said.append(unwritten)
    elif analysis.returncode is None:
        said.append(f"no report was made: {later}")
    elif analysis.returncode != 0:
        said.append(f"{how_it_ended('the process that makes the report', analysis.returncode)}: {later}")
    whole = unwritten is None and analysis.returncode == 0
    if interrupted or own is ExitCode.INTERRUPTED or _told_to_end(analysis.returncode):
        code = ExitCode.INTERRUPTED
    elif analysis.verdict is None:
        # Without a summary no figures are confirmed, so the run is inconclusive, even if a failed gate had ended it
        # early.
        code = ExitCode.INCONCLUSIVE if own in (ExitCode.PASSED, ExitCode.GATE_FAILED) else own
    elif not whole and analysis.verdict is ExitCode.PASSED:
        code = ExitCode.INCONCLUSIVE
    else:
        code = analysis.verdict
    return Ending(code, tuple(said))


def _told_to_end(returncode: int | None) -> bool:
    return returncode == ExitCode.INTERRUPTED or (
        returncode is not None and -returncode in subprocesses.ENDING_SIGNALS
    )


def how_it_ended(what: str, returncode: int, kills: KillWatch = KILLS) -> str:
    """Return a sentence on a process of this container that ended early.

    ``returncode`` is as in `subprocess.Popen`. The sender of a SIGKILL is unknown, but the kernel counts the processes
    that it kills for lack of memory.
    """
    if returncode >= 0:
        return f"{what} ended with exit code {returncode}"
    try:
        name = signal.Signals(-returncode).name
    except ValueError:
        name = "unknown"
    why = ""
    if -returncode == signal.SIGKILL:
        killed = kills.since()
        if killed is None:
            why = "; out of memory?"
        elif killed:
            why = f"; out of memory: the kernel killed it{limit_here()}"
        else:
            why = "; not for lack of memory, by the kernel's count"
    return f"{what} was ended by signal {-returncode} ({name}{why})"


def analyse(
    folder: Path,
    *,
    report: bool = True,
    shown: Shown = Shown.ALL,
    cancelled: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], Any],
) -> Analysis:
    """Compute a run's figures in a subprocess, which frees its memory when it ends, and return its result.

    Without ``report`` no HTML report is made, which saves most of the work. ``shown`` selects the printed text. While
    the subprocess runs, ``sleep`` is called repeatedly with a time in seconds; once ``cancelled`` returns True, the
    subprocess is killed.
    """
    options = [f"--show={shown}", *([] if report else ["--no-report"])]
    before = _signature(folder / SUMMARY)
    with subprocesses.held_signals():
        process = subprocess.Popen(  # noqa: S603  ours
            subprocesses.command("analysis", "finish", str(folder), *options),
            env=subprocesses.environment(),
            stdin=subprocess.DEVNULL,
            # Use a new process group: Ctrl-C must reach only this process, which waits for the subprocess.
            process_group=0,
        )
    while process.poll() is None:
        if cancelled():
            process.kill()
            process.wait()
            return Analysis(-signal.SIGTERM)
        sleep(_POLL_S)
    written = _signature(folder / SUMMARY) != before
    return Analysis(process.returncode, verdict_of(folder) if written else None)


def verdict_of(folder: Path) -> ExitCode | None:
    """Return the exit code in a run's summary, or None if there is no readable summary."""
    try:
        return ExitCode(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["exit_code"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


# The code below passes messages from the run to `loadgen run`, which started it.


def tell(**known: Any) -> None:
    """Report facts about the run, such as its folder or exit code, to `loadgen run`; do nothing under plain Locust."""
    descriptor = os.environ.get(STATUS_FD, "")
    if descriptor.isdigit():
        try:
            os.write(int(descriptor), json.dumps(known).encode() + b"\n")
        except OSError:
            # Ignore the error: `loadgen run` has ended, and this process will end soon.
            return


def exit_process(reason: str, code: ExitCode) -> NoReturn:
    """Print the reason and exit the process at once; call this only before a run has begun."""
    say(reason)
    tell(code=int(code))
    sys.stdout.flush()
    os._exit(code)


@dataclass(frozen=True)
class Told:
    """The facts that a run reported to `loadgen run`."""

    code: ExitCode | None = None
    folder: Path | None = None

    @classmethod
    def read(cls, descriptor: int) -> "Told":
        """Read all facts that a process reported before it ended; the last value of each fact counts."""
        os.set_blocking(descriptor, False)
        received = b""
        try:
            while piece := os.read(descriptor, 65_536):
                received += piece
        except BlockingIOError:
            pass
        known: dict[str, Any] = {}
        for line in received.splitlines():
            try:
                known |= json.loads(line)
            except ValueError:
                # Skip a line that the process had not finished writing when it ended.
                continue
        code, folder = known.get("code"), known.get("folder")
        return cls(None if code is None else ExitCode(code), None if folder is None else Path(folder))
