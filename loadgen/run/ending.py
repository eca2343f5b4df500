"""How a run ended: the one place that decides its exit code.

The code is *inconclusive* until a verdict has been written: without a summary nothing is green. What was printed, which
process died and when a signal came can only make the code worse.
"""

import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen import subprocesses as children
from loadgen.exits import ExitCode
from loadgen.run.kills import KillWatch, limit_here

#: Environment variable with the descriptor by which `loadgen run` hears how the run that it has started ended.
STATUS_FD: Final = "LOADGEN_STATUS_FD"
SUMMARY: Final = "summary.json"
_POLL_S: Final = 0.01
#: Since this process began.
KILLS: Final = KillWatch()


@dataclass(frozen=True)
class Ending:
    """An exit code and what to say with it; without arguments that of a run of which nothing is known."""

    code: ExitCode = ExitCode.INCONCLUSIVE
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysis:
    """How the process ended that makes summary and report, and the verdict that it wrote."""

    #: Its exit code, negative for the signal that ended it; None if it was not started.
    returncode: int | None = None
    #: The exit code in the summary that it wrote; None if it wrote none.
    verdict: ExitCode | None = None


def decide(
    folder: Path, own: ExitCode, analysis: Analysis, interrupted: bool, unwritten: str | None
) -> Ending:
    """Return how a run ended.

    ``own`` is how the run itself went, ``unwritten`` why its record could not be completed, ``interrupted`` whether
    anybody has asked for its end, at whatever moment.
    """
    later = f"`loadgen report {folder}` makes the report from the record"
    said = []
    if unwritten is not None:
        # The record says itself what to do.
        said.append(unwritten)
    elif analysis.returncode is None:
        said.append(f"no report was made: {later}")
    elif analysis.returncode != 0:
        said.append(f"{how_it_ended('the process that makes the report', analysis.returncode)}: {later}")
    whole = unwritten is None and analysis.returncode == 0
    if interrupted or own is ExitCode.INTERRUPTED or _told_to_end(analysis.returncode):
        code = ExitCode.INTERRUPTED
    elif analysis.verdict is None:
        # A gate that ended the run early has failed by figures that no summary holds.
        code = ExitCode.INCONCLUSIVE if own in (ExitCode.PASSED, ExitCode.GATE_FAILED) else own
    elif not whole and analysis.verdict is ExitCode.PASSED:
        code = ExitCode.INCONCLUSIVE
    else:
        code = analysis.verdict
    return Ending(code, tuple(said))


def _told_to_end(returncode: int | None) -> bool:
    return returncode == ExitCode.INTERRUPTED or (
        returncode is not None and -returncode in children.ENDING_SIGNALS
    )


def how_it_ended(what: str, returncode: int, kills: KillWatch = KILLS) -> str:
    """Return a sentence on a process of this container that ended before its work was done.

    Who sends SIGKILL is not told to anybody, but the kernel counts those that it sends for want of memory.
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
            why = "; not for want of memory, by the kernel's count"
    return f"{what} was ended by signal {-returncode} ({name}{why})"


def analyse(
    folder: Path,
    *,
    report: bool = True,
    cancelled: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], Any],
) -> Analysis:
    """Compute a run's figures in a process whose memory goes with it, and say how that went.

    Without ``report`` no page is drawn, which is most of the work. While it runs ``sleep`` is called again and again;
    once ``cancelled`` is true the process is ended.
    """
    options = [] if report else ["--no-report"]
    before = _signature(folder / SUMMARY)
    with children.held_signals():
        process = subprocess.Popen(  # noqa: S603  ours
            children.command("analysis", "finish", str(folder), *options),
            env=children.environment(),
            stdin=subprocess.DEVNULL,
            # Ctrl-C on the terminal is for the process that waits here.
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
    """Return the exit code in a run's summary; None where there is no summary that can be read."""
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


# Between the run and `loadgen run`, which has started it.


def tell(**known: Any) -> None:
    """Tell `loadgen run` a fact about the run, such as its folder or its exit code; nothing where nobody listens."""
    descriptor = os.environ.get(STATUS_FD, "")
    if descriptor.isdigit():
        try:
            os.write(int(descriptor), json.dumps(known).encode() + b"\n")
        except OSError:
            # It has gone, and this process is about to.
            return


@dataclass(frozen=True)
class Told:
    """What `loadgen run` was told of the run."""

    code: ExitCode | None = None
    folder: Path | None = None

    @classmethod
    def read(cls, descriptor: int) -> "Told":
        """Read all that was told by a process that has ended; the last word counts."""
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
                # Cut short with the process that wrote it.
                continue
        code, folder = known.get("code"), known.get("folder")
        return cls(None if code is None else ExitCode(code), None if folder is None else Path(folder))
