"""Write files into a run folder that may come from someone else: never through a link, each file whole or not at all.

In a foreign run folder, `summary.json` may be a link to one of the user's own files. So every file is written beside
the old one and then renamed over it: a rename replaces a link and leaves the link's target alone. A link to the folder
itself is followed, because the user has named it.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fresh(path: Path) -> Path:
    """Replace any file or link by an empty file, and return its path; raises OSError if that fails."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    os.close(os.open(path, flags, 0o666))
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``path`` at the end; raises OSError if that fails.

    After an error the old file is unchanged and the temporary one deleted.
    """
    temporary = fresh(path.with_name(path.name + ".new"))
    try:
        yield temporary
    except BaseException:
        # Delete the temporary file to free its space: the disk may be full.
        temporary.unlink(missing_ok=True)
        raise
    temporary.replace(path)


def replace(path: Path, content: str) -> None:
    """Write a text file whole or not at all; raises OSError if that fails."""
    with replacing(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def output(path: Path, content: str) -> None:
    """Write a text file at a path named by the user; write in place to a terminal, pipe or device such as /dev/stdout.

    Raises:
        OSError: the file cannot be written.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        path.write_text(content, encoding="utf-8")
    else:
        replace(path, content)


def folder(path: Path) -> Path:
    """Create a folder and its parents unless it exists; raises OSError if a link or a file has its name."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise
    return path


def trouble(path: Path) -> str | None:
    """Return the reason not to read a file of a run folder, or None if it may be read or does not exist.

    Only regular files are read: a pipe would block and a device may never end.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link that leads nowhere" if path.is_symlink() else None
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0)}"
    return None if stat.S_ISREG(mode) else "is not a regular file"
