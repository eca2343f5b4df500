"""A fixture that runs each test twice: with the poller of `loadgen.native`, and with the one in Python."""

from collections.abc import Iterator

import pytest

from loadgen import native
from loadgen.transport import poller as pollers


@pytest.fixture(params=["native", "python"])
def inlet_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Select the poller that reads the sockets of this test; yield its name."""
    if request.param == "native" and not native.available:
        pytest.skip("the native receive path was not built")
    monkeypatch.setattr(native, "available", request.param == "native")
    pollers._pollers.clear()
    yield request.param
    pollers._pollers.clear()
