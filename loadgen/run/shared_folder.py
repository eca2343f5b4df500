"""Choose the folder for a worker's spool (its rows on disk).

This is the spool folder of the master's run if master and worker see the same folder, else a temporary folder.
"""

import os
import stat
import tempfile
from pathlib import Path

from loadgen.measure.spool import MARKER


def spool_folder(told: str, token: int, worker: int) -> tuple[Path, bool]:
    """Return the folder for a worker's spool, and True if the master can read it there.

    ``told`` is the run folder that the master names. It is not trusted: its `spool` must be a folder and not a link,
    must belong to this worker's user, and must hold the marker of this run, which only the run's master writes.
    """
    spool = Path(told) / "spool"
    if spool.is_absolute() and ".." not in spool.parts and _is_ours(spool, token):
        return spool, True
    return Path(tempfile.mkdtemp(prefix=f"loadgen-{worker}-")), False


def _is_ours(spool: Path, token: int) -> bool:
    try:
        folder = os.open(spool, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        marker = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(marker, "rb") as file:
            status = os.fstat(file.fileno())
            own = os.fstat(folder).st_uid == status.st_uid == os.geteuid()
            return own and stat.S_ISREG(status.st_mode) and file.read(64) == str(token).encode()
    except OSError:
        return False
    finally:
        os.close(folder)
