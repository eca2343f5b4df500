"""Python code that keeps the interpreter of our receiver busy, as a user's own code may.

The code runs while the receiver's folder contains the file `burn`. If the content of the file is ``thread``, the code
runs in a native thread; if it is ``greenlet``, in a greenlet that lets the hub run every 20 ms.
"""

import time
from pathlib import Path

import gevent

from loadgen.run.threads import native_sleep, start_native_thread

BURN = "burn"
THREAD, GREENLET = "thread", "greenlet"
_LOOK_S = 0.02
_PIECE_S = 0.02


def _burn(seconds: float) -> int:
    until, count = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        count += sum(number * number for number in range(100))
    return count


def begin(folder: Path) -> None:
    """Start a thread and a greenlet that look for the file `burn` in ``folder`` and are busy while it exists."""

    def burns(kind: str) -> bool:
        try:
            return (folder / BURN).read_text() == kind
        except OSError:
            return False

    def in_thread() -> None:
        while True:
            if burns(THREAD):
                _burn(_PIECE_S)
            else:
                native_sleep(_LOOK_S)

    def in_greenlet() -> None:
        while True:
            if burns(GREENLET):
                _burn(_PIECE_S)
                gevent.sleep(0)
            else:
                gevent.sleep(_LOOK_S)

    start_native_thread(in_thread)
    gevent.spawn(in_greenlet)
