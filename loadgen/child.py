"""Run a module in a child process: `python -m loadgen.child MODULE ARGUMENT …`.

Every child process of the harness is started this way. The module runs as `python -m MODULE ARGUMENT …` would, with
four differences:

- It ends with the process that started it.
- A failed write to its output does not make it fail.
- A signal that arrives while it is loading is delivered once the module can handle it.
- Locust reads options from its command line only (see `loadgen.run.start_locust`).
"""

import os
import runpy
import signal
import sys

from loadgen import garbage
from loadgen.console import protect_output
from loadgen.lifeline import end_with_starter

#: Modules that install their own signal handlers, and then unblock the signals themselves.
_OWN_SIGNALS = ("locust", "loadgen")


def main() -> None:
    """Run the module that the command line names."""
    end_with_starter()
    garbage.leave_to_kernel()
    protect_output()
    module = sys.argv[1]
    sys.argv = sys.argv[1:]
    if module not in _OWN_SIGNALS:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    if module == "locust":
        from loadgen.run.start_locust import start

        start()
        return
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        # Ctrl-C is not an error, not even while a module is loading: print no traceback.
        os._exit(130)
