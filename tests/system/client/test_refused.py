"""Test the advice of the client commands if a service refuses them."""

import json
from pathlib import Path

import pytest

from loadgen.client.probe import APPSYNC_ADVICE, Probe
from loadgen.protocol.appsync.auth import ApiKey
from loadgen.protocol.appsync.client import AppSyncEvents
from loadgen.protocol.appsync.endpoints import Endpoints
from tests.system.server.beside import beside


@pytest.mark.parametrize(
    ("faults", "key", "step", "detail", "advice"),
    [
        ({"upgrades": {"status": 503}}, None, "WebSocket", "HTTP 503", "the target throttles"),
        ({"upgrades": {"status": 403}}, None, "WebSocket", "UnauthorizedException", "check the key or token"),
        ({"upgrades": {"status": 404}}, None, "WebSocket", "HTTP 404", "check the URL"),
        (
            {"subscribes": {"rate": "0.001/s"}},
            None,
            "subscribe",
            "LimitExceededError",
            "the target throttles",
        ),
        ({}, "da2-another", "login", "UnauthorizedException", APPSYNC_ADVICE.login),
    ],
)
def test_the_probes_advice_fits_the_answer(
    faults: dict[str, object], key: str | None, step: str, detail: str, advice: str, tmp_path: Path
) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text(json.dumps(faults))
    with beside(faults=file) as announced:
        service = AppSyncEvents(
            Endpoints.from_url(announced.http_url), ApiKey(key if key is not None else announced.api_key)
        )
        if step == "subscribe":
            # The server's rate limit admits only one subscribe at first. This probe uses it up, so the next is refused.
            list(Probe(service, "/default/a").run())
        steps = list(Probe(service, "/default/a").run())
    (failed,) = [each for each in steps if each.ok is False]
    assert failed.name == step
    assert detail in failed.detail
    assert advice in failed.advice
