from collections.abc import Iterator

import pytest

from tests.system.mqtt.broker import Broker, running
from tests.transport.kinds import inlet_kind

__all__ = ["inlet_kind"]


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("mosquitto")) as started:
        yield started


@pytest.fixture
def trusting(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Broker:
    """Return the broker; its certificate authority is trusted during the test."""
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.ca))
    return broker
