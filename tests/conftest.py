"""Which tests have the machine to themselves: those of whole runs, which judge themselves, and of the clock.

Everything else may run on all cores at once, a file a process (the README's test command does so).
"""

import signal
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ALONE = (
    "aws/test_whole_path.py",
    "calibrate",
    "capacity/test_command.py",
    "mqtt/test_run.py",
    "native/test_inlets.py",
    "run",
    "transport",
    "users",
)
#: Of those folders, what starts no load.
NOT_ALONE = (
    "run/test_ending.py",
    "run/test_gather.py",
    "run/test_passing.py",
    "run/test_record.py",
    "run/test_remote.py",
    "run/test_runners.py",
    "run/test_search_path.py",
    "run/test_shares.py",
    "run/test_wire.py",
    "run/test_worker_messages.py",
    "run/test_worker_permissions.py",
)

#: What imports Locust, which patches the process that does so (sockets, threads, ssl): each is run in a process of its
#: own by test_patched.py. One that is named on the command line is collected as ever.
PATCHED = (
    "live/test_entry.py",
    "run/test_joined.py",
    "run/test_passing.py",
    "run/test_runners.py",
    "run/test_search_path.py",
    "run/test_wire.py",
    "run/test_worker_messages.py",
    "run/test_worker_permissions.py",
)
collect_ignore = list(PATCHED)


# A shell starts what runs in the background, or under nohup, with these ignored, and so would all processes that the
# tests start and send them to.
for each in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(each) is signal.SIG_IGN:
        signal.signal(each, signal.default_int_handler if each is signal.SIGINT else signal.SIG_DFL)


def is_alone(path: str) -> bool:
    """Return whether a file's tests have the machine to themselves; the path is within this folder."""
    return path not in NOT_ALONE and any(Path(path).is_relative_to(each) for each in ALONE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        if is_alone(item.path.relative_to(HERE).as_posix()):
            item.add_marker("alone")
