"""A `loadgen` command in a process of its own: its output, and how it ends when the caller is interrupted."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from loadgen import subprocesses as children
from loadgen.run import ending

#: Maximum number of characters kept of the command's output; the last ones are kept.
_OUTPUT: Final = 1_000_000
_PATIENCE_S: Final = 30.0


def run_command(
    arguments: Sequence[str], variables: Mapping[str, str], *, echo: bool
) -> tuple[int, str, ending.Told, bool]:
    """Run `loadgen`; return its exit code, its output, the facts it reported, and True if Ctrl-C ended it."""
    reader, writer = os.pipe()
    environment = {
        **children.environment(),
        **variables,
        "PYTHONIOENCODING": "utf-8:replace",
        ending.STATUS_FD: str(writer),
    }
    try:
        # The child inherits the blocked signals, and unblocks them once it can handle them.
        with children.held_signals():
            process = subprocess.Popen(  # noqa: S603  ours
                children.command("loadgen", *arguments),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writer,),
                # Use a new process group, so that Ctrl-C reaches only this process, which passes it on.
                process_group=0,
            )
        try:
            output, interrupted = _followed(process, echo)
        finally:
            _end(process)
        os.close(writer)
        writer = -1
        return process.returncode, output, ending.Told.read(reader), interrupted
    finally:
        os.close(reader)
        if writer >= 0:
            os.close(writer)


def _followed(process: "subprocess.Popen[bytes]", echo: bool) -> tuple[str, bool]:
    """Read the output of a process until its end; return its last part, and True if this process got a Ctrl-C."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    kept, interrupted = bytearray(), False
    while True:
        try:
            piece = os.read(descriptor, 65_536)
            if not piece:
                process.wait()
                break
            kept += piece
            del kept[:-_OUTPUT]
            if echo:
                sys.stdout.write(piece.decode(errors="replace"))
                sys.stdout.flush()
        except KeyboardInterrupt:
            interrupted = True
            with suppress(ProcessLookupError):
                # Pass on each Ctrl-C: the command counts them, and kills a run that ignores several.
                process.send_signal(signal.SIGINT)
    return kept.decode(errors="replace"), interrupted


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process if it still runs, for example after an exception in this process."""
    assert process.stdout is not None
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    process.stdout.close()


def sentences(output: str) -> str:
    """Return the messages in a command's output, or all of it if it has none."""
    lines = output.strip().splitlines()
    said = [line.removeprefix("loadgen: ") for line in lines if line.startswith("loadgen: ")]
    return "\n".join([line for line in said if not line.startswith("note: ")] or lines or ["no output"])
