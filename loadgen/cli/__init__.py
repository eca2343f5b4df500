"""The `loadgen` command line."""

import os
import sys

from loadgen.search_path import leave_out_working_folder

#: Environment variable that makes loadgen print the traceback of an unexpected error.
DEBUG = "LOADGEN_DEBUG"


def main() -> None:
    """Run the command line, and turn its result or exception into the exit code."""
    # Call `leave_out_working_folder` before any other import. Otherwise a file in the working folder could be imported
    # in place of a library.
    leave_out_working_folder()
    import signal

    # With these handlers Ctrl-C prints no traceback.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupted)
    try:
        raise SystemExit(_run())
    except KeyboardInterrupt:
        os._exit(130)


def _interrupted(_number: int, _frame: object) -> None:
    """Handle SIGINT, SIGTERM and SIGHUP: raise KeyboardInterrupt."""
    raise KeyboardInterrupt


def _run() -> int:
    import signal

    from loadgen import garbage
    from loadgen.console import protect_output, say
    from loadgen.exits import ExitCode
    from loadgen.lifeline import end_with_starter

    end_with_starter()
    garbage.leave_to_kernel()
    protect_output()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        with garbage.loading():
            from loadgen.cli import commands

            app = commands.load(sys.argv[1:])

        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(ExitCode.PASSED)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except MemoryError:
        say("out of memory: run it on a machine, or in a container, with more")
        return int(ExitCode.INCONCLUSIVE)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        if isinstance(error, ImportError):
            from analysis import extras

            # Any command may need an optional package at any point, so a missing package is explained here.
            if (sentence := extras.explained(error)) is not None:
                say(sentence)
                return int(ExitCode.USAGE)
        from loadgen.measure.failures import message_of, place_of

        say(
            f"this is a defect of loadgen, please report it: {message_of(error)} at {place_of(error)}"
            f" ({DEBUG}=1 shows where it came from)"
        )
        return int(ExitCode.INCONCLUSIVE)
    finally:
        sys.stdout.flush()
    return int(ExitCode.PASSED)


__all__ = ["main"]
