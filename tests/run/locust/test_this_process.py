"""Test how a process ends: at once, or with a message, and without leaving a server or forked worker."""

from typing import Any

import pytest

from loadgen.exits import ExitCode
from tests.run.locust.made_up import Child, EndedError, Server, this_process


def test_a_process_that_stops_says_why_and_takes_its_workers_and_its_server_along(
    capsys: pytest.CaptureFixture[str],
) -> None:
    forked, server_itself = Child(5), Child(Server.pid)
    process, server = this_process(forked, server_itself), Server()
    owned: Any = server
    process.own(owned)
    with pytest.raises(EndedError) as ended:
        process.stop("no such scenario", ExitCode.USAGE)
    assert ended.value.code is ExitCode.USAGE
    assert "no such scenario" in capsys.readouterr().err
    assert forked.killed
    # The server is asked to stop, and is not killed.
    assert (server_itself.killed, server.stopped) == (False, True)
    assert process.server is None


def test_a_process_that_exits_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    child = Child(5)
    with pytest.raises(EndedError) as ended:
        this_process(child).exit(ExitCode.INTERRUPTED)
    assert ended.value.code is ExitCode.INTERRUPTED
    assert not child.killed
    assert capsys.readouterr().err == ""


def test_a_server_is_stopped_once() -> None:
    process, server = this_process(), Server()
    owned: Any = server
    process.own(owned)
    process.stop_server()
    server.stopped = False
    process.stop_server()
    assert not server.stopped
