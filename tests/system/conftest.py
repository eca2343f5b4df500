"""Timeouts for whole runs: a test on a busy machine is slow, not stuck."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.server.process import ServerProcess
from tests.system.service import KEY_VARIABLE, Service
from tests.system.users.player import Player, playing

#: Above the ceiling of a single wait (`harness.STUCK_S`), which says what it waited for.
TIMEOUT_S = 600
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    with ServerProcess() as server, pytest.MonkeyPatch.context() as patch:
        found = Service(server.announcement.http_url, server.announcement.api_key)
        patch.setenv(KEY_VARIABLE, found.key)
        yield found


@pytest.fixture(scope="session")
def commands() -> Iterator[Player]:
    """Plays commands that end soon: to start an interpreter for each, and to import all, takes longer than they do."""
    with playing(commands=True) as player:
        yield player
