"""Whole runs: a test that waits for a machine with ten others is slow, not stuck."""

from pathlib import Path

import pytest

#: Above the ceiling of a single wait (`harness.STUCK_S`), which says what it waited for.
TIMEOUT_S = 600
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
