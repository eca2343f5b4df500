"""Make standard output and standard error never raise, and keep control sequences from outside off the terminal.

The record alone decides a run's result, so output may be lost: a closed pipe, a full disk behind a redirection or a
character that the terminal cannot show must not stop the program. Printed text may come from a service, a worker or a
record, so control characters are replaced in every `print` and every log line. Only colour sequences are kept.
"""

import contextlib
import io
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Width of tables, in characters, outside a terminal, as in a log: most log views show that many.
_LOG_COLUMNS: Final = 120


class _Forgiving(io.RawIOBase):
    """A raw stream on a file descriptor that silently drops the bytes it cannot write."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return True if the descriptor is a terminal."""
        try:
            return os.isatty(self._descriptor)
        except OSError:
            return False

    def writable(self) -> bool:
        """Always return True: bytes that cannot be written are dropped."""
        return True

    def write(self, data: object) -> int:
        """Write as much as the descriptor takes and return the length of ``data``, as if all had been written."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]  # RawIOBase is given any buffer
        rest = view
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            # Drop the rest, even if a non-blocking terminal or pipe is full (EAGAIN): waiting would block the loop.
            return view.nbytes
        return view.nbytes


#: Control characters except newline and tab; group 1 matches a colour sequence, which is kept.
_COMMANDS = re.compile(r"(\x1b\[[0-9;]{0,20}m)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
#: Characters that change text direction or break lines; they are replaced on a terminal and on standard error only.
_TURNS = re.compile(r"[\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class _Display(io.TextIOWrapper):
    """A text stream for a terminal or a log that replaces control characters."""

    def __init__(self, raw: _Forgiving, encoding: str, *, for_people: bool) -> None:
        super().__init__(cast(Any, raw), encoding=encoding, errors="replace", line_buffering=for_people)
        self._for_people = for_people

    def write(self, text: str) -> int:
        """Write text with each control character replaced by a question mark; return the length of ``text``."""
        shown = _COMMANDS.sub(lambda found: found[1] or "?", text)
        if self._for_people:
            shown = _TURNS.sub("?", shown)
        super().write(shown)
        return len(text)


def drawing(stream: TextIO) -> TextIO:
    """Return an unfiltered stream to the descriptor of ``stream``, for the program's own text that moves the cursor."""
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, _Forgiving):
        return stream
    return io.TextIOWrapper(
        cast(Any, _Forgiving(raw.fileno())), encoding=stream.encoding, errors="replace", line_buffering=True
    )


def screen(*, log_columns: int = _LOG_COLUMNS) -> "Console":
    """Return a rich console on standard output; print sentences with :func:`sentence`.

    It is as wide as the terminal. In a log or a pipe, tables are at most ``log_columns`` wide unless the environment
    sets COLUMNS.
    """
    # Import rich only here, because many commands print without it.
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False)
    width = None if os.environ.get("COLUMNS") else log_columns
    return Console(highlight=False, width=width)


def sentence(console: "Console", said: "Text | str" = "") -> None:
    """Print text wrapped in a terminal only: in a log or a pipe, lines stay whole so that they can be searched."""
    console.print(said, soft_wrap=not console.file.isatty())


def print_line(said: str) -> None:
    """Print a line of plain text to standard output: in a terminal wrapped between words, elsewhere whole."""
    from rich.text import Text

    if sys.stdout.isatty():
        sentence(screen(), Text(said))
    else:
        print(said, flush=True)


def indented(console: "Console", said: str, columns: int = 2) -> None:
    """Print text as :func:`sentence` does, each of its lines indented."""
    from rich.padding import Padding
    from rich.text import Text

    if console.file.isatty():
        console.print(Padding(Text(said), (0, 0, 0, columns)))
    else:
        sentence(console, Text(" " * columns + said))


def note(console: "Console", said: "Text") -> None:
    """Print one of several remarks; in a terminal with a dot in front, so that wrapped lines do not run together."""
    from rich.table import Table
    from rich.text import Text

    if not console.file.isatty():
        sentence(console, said)
        return
    table = Table.grid(padding=(0, 1))
    table.add_row(Text("·", said.style), said)
    console.print(table)


def _forgiving(stream: TextIO | None, descriptor: int) -> TextIO:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        os.fstat(descriptor)
    except OSError:
        # The parent process closed this descriptor (`2>&-`). Open /dev/null on it: otherwise the next file opened would
        # get its number and receive the output.
        opened = os.open(os.devnull, os.O_WRONLY)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)
    raw = _Forgiving(descriptor)
    # Use no BufferedWriter: an exception raised by a signal handler after a write would leave the bytes
    # in its buffer, and they would be written twice.
    return _Display(raw, encoding, for_people=raw.isatty() or descriptor == 2)


def protect_output() -> None:
    """Make standard output and standard error unable to raise; call it first in every process's `main`.

    Leaves a stream alone if it does not write to descriptor 1 or 2, as under a test runner that captures output.
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
