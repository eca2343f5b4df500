"""Writing into a folder that somebody may have sent: never through a link, each file whole or not at all.

A run's folder from elsewhere can hold `summary.json` as a link to a file of the reader's. Everything that we write into
a folder is made here: a new file beside the old one, which then takes its place. Renaming replaces a link, and never
what it leads to. That the folder itself is a link is the user's own choice.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fresh(path: Path) -> Path:
    """Make an empty file where a file or a link may be, and return its path; raises OSError."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o666))
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which takes the place of ``path`` at the end; raises OSError.

    After an error the old file is as it was, and the half-written one is gone.
    """
    temporary = fresh(path.with_name(path.name + ".new"))
    try:
        yield temporary
    except BaseException:
        # On a full disk a half-written file is only in the way.
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def replace(path: Path, content: str) -> None:
    """Write a text file whole or not at all; raises OSError."""
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def output(path: Path, content: str) -> None:
    """Write a text file that the user has named, which may be a terminal or a pipe, as /dev/stdout; raises OSError."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_text(content, encoding="utf-8")
    else:
        replace(path, content)


def folder(path: Path) -> Path:
    """Make a folder within another where there is none; raises OSError where a link stands there."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
    return path


def trouble(path: Path) -> str | None:
    """Return why a file of a run's folder is not to be read, or None; what is missing is no trouble.

    A pipe would be waited for, a device never ends.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link that leads nowhere" if path.is_symlink() else None
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    return None if stat.S_ISREG(mode) else "is no regular file"
