"""Which tests have the machine to themselves: those of whole runs, which judge themselves, and of the clock.

Everything else may run on all cores at once, a file a process (the README's test command does so).
"""

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
    "run/test_search_path.py",
    "run/test_shares.py",
    "run/test_worker_permissions.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    for item in items:
        path = item.path.relative_to(HERE)
        if any(path.is_relative_to(each) for each in ALONE) and path.as_posix() not in NOT_ALONE:
            item.add_marker("alone")
