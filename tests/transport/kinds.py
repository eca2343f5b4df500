"""Tests that run by either inlet: `loadgen.native`'s and the one in Python."""

from collections.abc import Iterator

import pytest

from loadgen import native
from loadgen.transport import inlet as inlets


@pytest.fixture(params=["native", "python"])
def inlet_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Which inlet reads the sockets of this test."""
    if request.param == "native" and not native.available:
        pytest.skip("the native receive path was not built")
    monkeypatch.setattr(native, "available", request.param == "native")
    inlets._inlets.clear()
    yield request.param
    inlets._inlets.clear()
