"""End each child process when the process that started it ends.

`subprocesses.environment` passes on the starter's process id; a child started through `loadgen.child` calls
:func:`end_with_starter` before anything else. On Linux the kernel then kills the child as soon as the starter is gone,
however it ended. On other systems, and in processes that must save something first, a native thread watches the
starter instead.
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
#: Options of prctl(2).
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_LOOK_INTERVAL_S: Final = 0.1


def end_with_starter() -> None:
    """Make this process end when the process that `LOADGEN_STARTER` names ends; do nothing if it names none."""
    starter = os.environ.pop(STARTER, "")
    if starter.isdigit():
        end_with(int(starter))


def end_with(parent: int) -> None:
    """Make this process end as soon as ``parent`` ends; ``parent`` must be its parent process now."""
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        watch_parent(parent, _nothing, 0.0)
    elif os.getppid() != parent:
        # The parent ended before the prctl call took effect.
        os.kill(os.getpid(), signal.SIGKILL)


def watch_parent(parent: int, on_orphaned: Callable[[], object], grace_s: float) -> None:
    """When ``parent`` ends, call ``on_orphaned`` in a native thread, and end this process ``grace_s`` seconds later.

    The process is ended by SIGKILL, which works however busy or stuck its other threads are.
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
    """Return a function of a standard module without gevent's patch; does not import gevent."""
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
