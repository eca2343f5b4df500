"""Test the pytest fixture for other projects, with the example in its documentation."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadgen import subprocesses
from loadgen.server.process import Announcement
from loadgen.server.testing import LocalEventApi, Namespace, event_api  # noqa: F401
from tests.paths import REPO
from tests.system.harness import STUCK_S
from tests.system.server.conftest import Client

EXAMPLE = REPO / "docs" / "examples" / "test_chat.py"


def test_the_example_passes_in_a_project_of_its_own(tmp_path: Path) -> None:
    shutil.copy(EXAMPLE, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "."],
        cwd=tmp_path,
        env=subprocesses.environment(),
        capture_output=True,
        text=True,
        timeout=STUCK_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def announcement(api: LocalEventApi) -> Announcement:
    return Announcement(api.http_url, api.ws_url, api.api_key, 0)


def test_a_test_can_wait_for_subscribers_and_publish_to_them(
    event_api: LocalEventApi,  # noqa: F811
    client: Callable[..., Client],
) -> None:
    reader = client(announcement(event_api))
    reader.subscribe("/default/*")
    event_api.wait_for_subscriptions()
    assert event_api.publish("default/a", {"n": 1}, "two") == 1
    assert [reader.receive()["event"] for _ in range(2)] == ['{"n": 1}', '"two"']
    reader.socket.close()


def test_waiting_in_vain_says_what_there_was(event_api: LocalEventApi) -> None:  # noqa: F811
    event_api.publish("/default/a", 1)
    with pytest.raises(TimeoutError, match=r"1 of 2 events came to /default/\*.*event='1'"):
        event_api.wait_for_events("/default/*", 2, timeout_s=0.05)
    with pytest.raises(TimeoutError, match="0 of 1 subscriptions"):
        event_api.wait_for_subscriptions(timeout_s=0.05)


def test_many_can_run_beside_each_other_and_leave_no_thread() -> None:
    import threading

    before = set(threading.enumerate())
    with LocalEventApi(["a"]) as first, LocalEventApi([Namespace("b")], api_key="da2-mine") as second:
        assert first.http_url != second.http_url
        assert second.api_key == "da2-mine"
    assert set(threading.enumerate()) <= before
