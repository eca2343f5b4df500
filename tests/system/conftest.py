"""Settings for whole runs: long timeouts, because a test on a busy machine is slow but not stuck."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from loadgen.server.process import ServerProcess
from tests.system.harness import STUCK_S
from tests.system.service import KEY_VARIABLE, Service
from tests.system.users.player import Player, playing

#: Longer than the longest single wait (`harness.STUCK_S`): the wait then fails first, and says what was waited for.
TIMEOUT_S = STUCK_S + 300
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
    """Run short commands in forked processes, as starting an interpreter with all imports takes longer."""
    with playing(commands=True) as player:
        yield player
