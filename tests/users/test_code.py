"""Test hooks that raise any kind of exception."""

from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest

from loadgen.measure.failures import Failures
from loadgen.users.code import UserCode
from loadgen.users.worker import WorkerRun

WRONG = [
    ValueError("no"),
    SystemExit(0),
    KeyboardInterrupt(),
    gevent.GreenletExit(),
    gevent.Timeout(1),
    BaseException("a panic"),
    StopIteration(),
    MemoryError(),
]


class Quiet:
    def on_start(self) -> None: ...

    def on_stop(self) -> None: ...

    def on_delivery(self, channel: str, event: str) -> None: ...

    def payload(self) -> Any: ...


class Wrong(Quiet):
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_start(self) -> None:
        raise self.error

    def on_stop(self) -> None:
        raise self.error

    def on_delivery(self, channel: str, event: str) -> None:
        raise self.error


def code_of(user: Quiet, stopping: bool = False) -> tuple[UserCode, Any]:
    complaints: list[str] = []
    run = SimpleNamespace(
        failures=Failures(), stopping=stopping, report_error=lambda reason, fatal: complaints.append(reason)
    )
    run.complaints = complaints
    return UserCode(user, Quiet, cast(WorkerRun, run)), run


@pytest.mark.parametrize("error", WRONG, ids=lambda error: type(error).__name__)
def test_whatever_a_hook_raises_ends_there_and_is_counted(error: BaseException) -> None:
    code, run = code_of(Wrong(error))
    on_delivery = code.on_delivery
    assert on_delivery is not None
    for _ in range(3):
        code.start()
        on_delivery("/a", "{}")
        code.stop()
    counted = [(entry["where"].partition("()")[0], entry["count"]) for entry in run.failures.to_list()]
    assert counted == [("on_start", 3), ("on_delivery", 3), ("on_stop", 3)]
    assert all("at tests/users/test_code.py:" in entry["where"] for entry in run.failures.to_list())
    assert all(type(error).__name__ in entry["message"] for entry in run.failures.to_list())


def test_a_user_that_is_ended_with_the_run_ends_in_its_hook() -> None:
    code, run = code_of(Wrong(gevent.GreenletExit()), stopping=True)
    greenlet = gevent.spawn(code.start)
    greenlet.join(1)
    assert isinstance(greenlet.value, gevent.GreenletExit)
    assert not run.failures.to_list()


def test_hooks_that_are_not_overridden_are_not_called() -> None:
    code, run = code_of(Quiet())
    assert code.on_delivery is None
    assert code.members() == ""
    assert not run.failures.to_list()


def test_hooks_that_a_user_sets_on_itself_are_called() -> None:
    user, seen = Quiet(), []
    user.payload = lambda: {"a": 1}  # type: ignore[method-assign]
    user.on_delivery = lambda channel, event: seen.append((channel, event))  # type: ignore[method-assign]
    code, _ = code_of(user)
    assert code.members() == '"a":1'
    assert code.on_delivery is not None
    code.on_delivery("/a", "{}")
    assert seen == [("/a", "{}")]


def test_on_start_that_takes_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.users.code.SLOW_START_S", 0.01)

    class Slow(Quiet):
        def on_start(self) -> None:
            gevent.sleep(0.1)

    code, run = code_of(Slow())
    code.start()
    assert run.complaints == ["on_start() has not returned after 0.01 s, and its client connects only then"]
    quick, run = code_of(Quiet())
    quick.start()
    gevent.sleep(0.05)
    assert run.complaints == []
