"""No process of ours outlives the one that started it.

`children.environment` names the starter; a child started through `loadgen.child` calls :func:`end_with_starter` before
anything else. On Linux the kernel then ends the child the moment its starter is gone, however that went. Where there is
something to save first, and elsewhere than on Linux, a native thread watches for it instead.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

#: Environment variable with the process id of the starter.
STARTER: Final = "LOADGEN_STARTER"
#: prctl(2).
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOOK_INTERVAL_S: Final = 0.1


def end_with_starter() -> None:
    """End at once when the process ends that `LOADGEN_STARTER` names; do nothing where none is named."""
    starter = os.environ.pop(STARTER, "")
    if starter.isdigit():
        end_with(int(starter))


def end_with(parent: int) -> None:
    """End this process as soon as ``parent``, which must be its parent now, has ended."""
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        watch_parent(parent, _nothing, 0.0)
    elif os.getppid() != parent:
        # It had ended before the kernel knew of our wish.
        os.kill(os.getpid(), signal.SIGKILL)


def watch_parent(parent: int, on_orphaned: Callable[[], object], grace_s: float) -> None:
    """When ``parent`` has ended, call ``on_orphaned`` in a native thread and end this process after ``grace_s``.

    The end is SIGKILL, so it comes however busy or stuck the rest of the process is.
    """
    sleep = _native("time", "sleep")

    def watch() -> None:
        while os.getppid() == parent:
            sleep(_LOOK_INTERVAL_S)
        try:
            on_orphaned()
        finally:
            sleep(grace_s)
            os.kill(os.getpid(), signal.SIGKILL)

    _native("_thread", "start_new_thread")(watch, ())


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be found; Linux only."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _native(module: str, name: str) -> Any:
    """Return a function as it is without gevent's patches; gevent is not loaded for it."""
    if "gevent.monkey" in sys.modules:
        from gevent.monkey import get_original

        return get_original(module, name)
    return getattr(import_module(module), name)


def _nothing() -> None:
    pass


def _prctl(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(option, int(value), 0, 0, 0) == 0)
