"""Which tests have the machine to themselves: those that run the program or hold sockets to the clock.

Everything else only computes, and may run on all cores at once (the README's test command does so).
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Folders and files of tests that only compute.
COMPUTING = (
    "analysis",
    "aws/test_metrics.py",
    "aws/test_stack.py",
    "aws/test_template.py",
    "capacity/test_axes.py",
    "capacity/test_search.py",
    "capacity/test_trial.py",
    "credentials",
    "deploy",
    "docs",
    "live/test_prometheus.py",
    "live/test_state.py",
    "measure",
    "mqtt/test_endpoints.py",
    "mqtt/test_scenarios.py",
    "mqtt/test_session.py",
    "mqtt/test_topics.py",
    "native/test_lane.py",
    "pacing",
    "planning",
    "protocol",
    "protocol_file",
    "scenario",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all but these."""
    for item in items:
        path = item.path.relative_to(HERE)
        if not any(path.is_relative_to(each) for each in COMPUTING):
            item.add_marker("alone")
