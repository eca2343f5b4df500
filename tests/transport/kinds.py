"""Run tests with either poller: that of `loadgen.native` and the one in Python."""

from collections.abc import Iterator

import pytest

from loadgen import native
from loadgen.transport import poller as pollers


@pytest.fixture(params=["native", "python"])
def inlet_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which poller reads the sockets of this test."""
    if request.param == "native" and not native.available:
        pytest.skip("the native receive path was not built")
    monkeypatch.setattr(native, "available", request.param == "native")
    pollers._pollers.clear()
    yield request.param
    pollers._pollers.clear()
