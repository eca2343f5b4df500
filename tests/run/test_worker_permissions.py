"""Test that only a worker's own command line gives permissions, whatever its master sends."""

from types import SimpleNamespace
from typing import Any

import pytest

from loadgen.credentials.allowed import NOTHING, Allowed
from loadgen.resolve.loading import load
from loadgen.resolve.resolver import resolve
from loadgen.run.locust.base import Settings
from loadgen.run.locust.local import LocalProcess
from loadgen.run.locust.this_process import ThisProcess
from loadgen.run.locust.worker import WorkerProcess
from loadgen.run.locust.worker_side import WorkerSide
from loadgen.run.master_messages import Begin
from loadgen.run.target import Target


class Runner:
    """Stands in for Locust's runner, but connects to nothing."""

    client_id = "worker-1"


class EnoughError(Exception):
    """Raised in place of creating the agent, to end the test there."""


def begin() -> Begin:
    url = "http://127.0.0.1:1/event"
    return Begin(
        run=resolve(load("comments", target=url), url),
        target=Target(url).to_payload(),
        token=1,
        folder="/nowhere",
        worker=0,
        sockets=1,
        websockets=1,
        workers=1,
        echo_ns=None,
        boot_id=None,
        live=False,
    )


def options(**given: Any) -> SimpleNamespace:
    plain = {
        "allow_env": [],
        "allow_file": [],
        "allow_commands": False,
        "allow_remote": False,
        "spool_to": None,
        "processes": None,
        "worker": True,
    }
    return SimpleNamespace(**{**plain, **given})


def begun(
    kind: type[LocalProcess] | type[WorkerProcess],
    own: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    places: dict[str, str] | None = None,
) -> tuple[Allowed, str | None]:
    """Return the permissions of a worker's agent, and "the master" if the master chose its login, else None.

    Before that, the worker gets other options and a run from its master.
    """
    taken: list[Any] = []

    def agent(*arguments: Any) -> None:
        taken.extend(arguments)
        raise EnoughError

    defaults: Any = WorkerSide.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "agent_of", agent)
    environment: Any = SimpleNamespace(parsed_options=own, web_ui=None, stats=None)
    settings = Settings.of(environment, places or {})
    runner: Any = Runner()
    process: Any = (
        LocalProcess(settings, ThisProcess())
        if kind is LocalProcess
        else WorkerProcess(settings, ThisProcess(), runner)
    )
    # Locust's worker overwrites its options like this when the master's message `spawn` arrives.
    vars(own).update(allow_env=["SOME_NAME"], allow_file=["/"], allow_commands=True, weight="9")
    with pytest.raises(EnoughError):
        process._worker.take(begin())
    *_, allowed, login_from, _tables = taken
    return allowed, login_from


def test_options_that_a_master_sends_permit_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert begun(WorkerProcess, options(), monkeypatch) == (NOTHING, "the master")
    allowed, login_from = begun(WorkerProcess, options(allow_env=["OWN_NAME"]), monkeypatch)
    assert (allowed, login_from) == (Allowed.of(["OWN_NAME"]), "the master")


def test_only_a_process_of_the_same_command_line_takes_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["locust", "--processes", "2"])
    assert begun(LocalProcess, options(worker=False), monkeypatch)[1] is None
    assert begun(WorkerProcess, options(processes=2), monkeypatch)[1] is None
    # An environment variable or a file turns `locust --processes 2` into workers of another master.
    for place in ("the environment variable LOCUST_MODE_WORKER", "locust.conf:1"):
        assert begun(WorkerProcess, options(processes=2), monkeypatch, {"worker": place})[1] == "the master"
    monkeypatch.setattr("sys.argv", ["locust", "--worker", "--processes", "2"])
    assert begun(WorkerProcess, options(processes=2), monkeypatch)[1] == "the master"
