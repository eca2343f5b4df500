"""Install packages for tests once, even if several test processes need them at the same time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from tests.paths import REPO


@contextmanager
def once(name: str) -> Iterator[None]:
    """Hold the lock of that name; the first installs, the others wait and then find it there."""
    folder = REPO / ".cache"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
