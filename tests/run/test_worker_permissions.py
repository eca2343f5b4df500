"""Test that only a worker's own command line gives permissions, whatever its master sends."""

from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.run import controller as module
from loadgen.run import messages
from loadgen.run.controller import Controller


class Worker:
    """In place of Locust's: connects to nothing."""

    client_id = "worker-1"


class Local:
    """The same of a process that is master and worker."""


class EnoughError(Exception):
    """The agent would be made now."""


def options(**given: Any) -> SimpleNamespace:
    plain = {"allow_env": [], "allow_file": [], "allow_commands": False, "processes": None, "worker": True}
    return SimpleNamespace(**{**plain, **given})


def begun(
    runner: Any, own: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, places: dict[str, str] | None = None
) -> tuple[Allowed, str | None]:
    """Return what the agent of a process may use, after its master has sent other options and a run."""
    taken: list[Any] = []

    def agent(*arguments: Any) -> None:
        taken.extend(arguments)
        raise EnoughError

    monkeypatch.setattr(module, "Agent", agent)
    monkeypatch.setattr(module, "WorkerRunner", Worker)
    environment: Any = SimpleNamespace(runner=runner, parsed_options=own, web_ui=None)
    controller = Controller(environment, places or {})
    # As Locust's worker does when its master's `spawn` arrives.
    vars(own).update(allow_env=["SOME_NAME"], allow_file=["/"], allow_commands=True, weight="9")
    with pytest.raises(EnoughError):
        controller._from_coordinator(messages.BEGIN, {"worker": 0, "target": {}})
    return taken[-2], taken[-1]


def test_options_that_a_master_sends_permit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begun(Worker(), options(), monkeypatch) == (NOTHING, "the master")
    allowed, login_from = begun(Worker(), options(allow_env=["OWN_NAME"]), monkeypatch)
    assert (allowed, login_from) == (Allowed.of(["OWN_NAME"]), "the master")


def test_only_a_process_of_the_same_command_line_takes_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["locust", "--processes", "2"])
    assert begun(Local(), options(worker=False), monkeypatch)[1] is None
    assert begun(Worker(), options(processes=2), monkeypatch)[1] is None
    # `locust --processes 2` that an environment variable or a file makes a worker of another's master.
    for place in ("the environment variable LOCUST_MODE_WORKER", "locust.conf:1"):
        assert begun(Worker(), options(processes=2), monkeypatch, {"worker": place})[1] == "the master"
    monkeypatch.setattr("sys.argv", ["locust", "--worker", "--processes", "2"])
    assert begun(Worker(), options(processes=2), monkeypatch)[1] == "the master"
