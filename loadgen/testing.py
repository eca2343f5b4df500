"""Fixtures for pytest: one starts a local Event API, the other puts load on that API or on a service of your own.

    from loadgen.testing import event_api, load_run  # noqa: F401  in conftest.py or the test module

    def test_a_room_of_fifty(event_api, load_run):
        run = load_run(SCENARIO, api=event_api, overrides={"clients.readers.count": 50})
        assert run.passed, run
        assert run.ledger["lost"] == 0

The server runs in a thread of the test's process, so that handlers may be functions of the test; the load comes from
processes of its own. This module needs pytest.
"""

from pathlib import Path
from typing import Any, Protocol

import pytest

from loadgen.scenario_run import RunInterrupted, ScenarioRun, run_scenario
from loadgen.server.testing import (
    LocalEventApi,
    Namespace,
    OnPublish,
    OnSubscribe,
    Published,
    Quotas,
    event_api,
)

__all__ = [
    "LoadRun",
    "LocalEventApi",
    "Namespace",
    "OnPublish",
    "OnSubscribe",
    "Published",
    "Quotas",
    "RunInterrupted",
    "ScenarioRun",
    "event_api",
    "load_run",
    "run_scenario",
]


class LoadRun(Protocol):
    """The type of the fixture `load_run`: calls :func:`loadgen.run_scenario`, with a local Event API if given."""

    def __call__(self, scenario: Any, *, api: LocalEventApi | None = None, **options: Any) -> ScenarioRun:
        """Return the finished run; raises the errors of :func:`loadgen.run_scenario`."""


@pytest.fixture
def load_run(tmp_path: Path) -> LoadRun:
    """Return a function that runs a scenario; the run folders are in the test's `tmp_path`."""

    def run(scenario: Any, *, api: LocalEventApi | None = None, **options: Any) -> ScenarioRun:
        if api is not None:
            options = {"target": api.http_url, "api_key": api.api_key, **options}
        return run_scenario(scenario, **{"results": tmp_path / "runs", **options})

    return run
