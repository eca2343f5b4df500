"""Test a scenario's TLS settings, as a worker receives them."""

from typing import Any

import msgspec
import pytest

from loadgen.resolve import ResolvedRun
from loadgen.resolve.loading import from_resolved
from loadgen.resolve.resolver import resolve
from loadgen.resolve.run import decoded, encoded

CLIENTS = {
    "readers": {"count": 2, "subscribe": ["/a/b"]},
    "writer": {"count": 1, "publish": {"channel": "/a/b", "rate": "1/s", "via": "http"}},
}


@pytest.mark.parametrize(
    ("said", "resumed"),
    [
        ({}, False),
        ({"tls": {}}, False),
        ({"tls": {"resumption": False}}, False),
        ({"tls": {"resumption": True}}, True),
    ],
)
def test_sessions_are_resumed_only_if_the_scenario_says_so(said: dict[str, Any], resumed: bool) -> None:
    run = resolve(from_resolved({"version": 1, "clients": CLIENTS, **said}))
    assert run.tls_resumption is resumed
    assert decoded(encoded(run)).tls_resumption is resumed
    sent = msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(run.for_worker())), ResolvedRun)
    assert sent.tls_resumption is resumed
    assert resolve(from_resolved(run.document)).tls_resumption is resumed
