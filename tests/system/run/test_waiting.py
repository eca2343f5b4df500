"""Test what a master and a worker print while they wait for each other, and that Ctrl-C ends the wait."""

import signal
import subprocess
import time

import pytest

from tests.system.harness import STUCK_S, Finished, free_port, start


def _heard(process: "subprocess.Popen[str]", what: str) -> str:
    """Read standard error until a line contains ``what``; return all lines read."""
    assert process.stderr is not None
    heard = ""
    deadline_s = time.monotonic() + STUCK_S
    while time.monotonic() < deadline_s:
        line = process.stderr.readline()
        heard += line
        if what in line or not line:
            break
    assert what in heard
    return heard


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_says_what_it_waits_for_and_ends_at_a_signal(number: signal.Signals) -> None:
    port = free_port()
    process = start("run", "chat", "--worker", "--master-port", str(port))
    _heard(process, f"waiting for the master at 127.0.0.1:{port}")
    process.send_signal(number)
    done = Finished(process)
    assert done.code == 130
    assert "interrupted before a master was there" in done.err


def test_a_master_says_how_to_start_what_it_waits_for() -> None:
    port = free_port()
    process = start("run", "chat", "--master", "--expect-workers", "2", "--master-port", str(port))
    heard = _heard(process, "waiting for 2 workers")
    assert f"`loadgen run --worker --master-host 127.0.0.1 --master-port {port}`" in heard
    process.send_signal(signal.SIGTERM)
    assert Finished(process).code == 130
