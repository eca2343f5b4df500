"""Output that cannot fail: the terminal is only a display.

What becomes of a run is decided by its record. A closed pipe, a full disk behind a redirection or a terminal that
cannot show a character loses text and nothing else.
"""

import contextlib
import io
import os
import sys
from typing import Any, TextIO, cast


class _Forgiving(io.RawIOBase):
    """Writes to a file descriptor; bytes it does not take are lost without an error."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def writable(self) -> bool:
        """Return true: what cannot be written is lost."""
        return True

    def write(self, data: object) -> int:
        """Write as much as the descriptor takes; returns how many bytes are dealt with, which is all of them."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # RawIOBase is given any buffer
        rest = view
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Also of a terminal or pipe that is full and does not block: to wait would stop the event loop.
            return view.nbytes
        return view.nbytes


def _forgiving(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        os.fstat(descriptor)
    except OSError:
        # Closed by whoever started us (`2>&-`): the number must not become another file's.
        opened = os.open(os.devnull, os.O_WRONLY)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
    raw = _Forgiving(descriptor)
    # Without a buffer of bytes between: a signal's exception on the way back from a write would leave in it what was
    # written, to be written again.
    return io.TextIOWrapper(
        cast(Any, raw), encoding=encoding, errors="replace", line_buffering=raw.isatty() or descriptor == 2
    )


def protect_output() -> None:
    """Make standard output and standard error unable to raise; call it first in every process's `main`.

    A stream that is not the process's own (as under a test runner that captures output) is left as it is.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        try:
            own = stream is None or stream.fileno() == descriptor
        except (OSError, ValueError, AttributeError):
            own = False
        if not own or isinstance(getattr(stream, "buffer", None), _Forgiving):
            continue
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        setattr(sys, name, _forgiving(stream, descriptor))
