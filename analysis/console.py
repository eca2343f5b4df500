"""Output that cannot fail and that no foreign text can command: the terminal is only a display.

What becomes of a run is decided by its record. A closed pipe, a full disk behind a redirection or a terminal that
cannot show a character loses text and nothing else. Whatever is printed may hold what a service, a worker or a record
said, so control characters end here, for every `print` and every log line: colours are all that is let through.
"""

import contextlib
import io
import os
import re
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


#: Control characters but for line end and tab; a sequence that sets a colour is let through.
_COMMANDS = re.compile(r"(\x1b\[[0-9;]{0,20}m)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: For people also what turns the direction of text.
_TURNS = re.compile(r"[\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class _Display(io.TextIOWrapper):
    """Text for a terminal or a log, without what a terminal would obey."""

    def __init__(self, raw: _Forgiving, encoding: str, *, for_people: bool) -> None:
        super().__init__(cast(Any, raw), encoding=encoding, errors="replace", line_buffering=for_people)
        self._for_people = for_people

    def write(self, text: str) -> int:
        """Write text, with a question mark for each control character; returns how much was given."""
        shown = _COMMANDS.sub(lambda found: found[1] or "?", text)
        if self._for_people:
            shown = _TURNS.sub("?", shown)
        super().write(shown)
        return len(text)


def drawing(stream: TextIO) -> TextIO:
    """Return a stream to the same place that may move the cursor, for text that is all our own."""
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, _Forgiving):
        return stream
    return io.TextIOWrapper(
        cast(Any, _Forgiving(raw.fileno())), encoding=stream.encoding, errors="replace", line_buffering=True
    )


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
    return _Display(raw, encoding, for_people=raw.isatty() or descriptor == 2)


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
