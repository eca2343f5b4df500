"""`python -m loadgen.child MODULE ARGUMENT …`: how every process of ours is started.

The module then runs as `python -m MODULE ARGUMENT …` would, with four differences: it ends with the process that
started it, output cannot make it fail, a signal that came while it was loading is delivered once it can be dealt with,
and Locust reads options from its command line only (see `loadgen.run.start_locust`).
"""

import os
import runpy
import signal
import sys

from loadgen import garbage
from loadgen.console import protect_output
from loadgen.lifeline import end_with_starter

#: These answer signals themselves, and let them in when they can.
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
        # Also while a module was loading: what it did is not worth a traceback.
        os._exit(130)
