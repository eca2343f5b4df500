"""Test which modules are skipped while Locust is imported, and that package metadata is read once."""

import importlib.metadata
import subprocess
import sys

import pytest

from loadgen.run import start_locust


def test_packages_are_read_once_and_what_they_have_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = importlib.metadata.entry_points
    reads = []

    def counted(**wanted: str) -> object:
        reads.append(wanted)
        return whole(**wanted)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    groups = ("console_scripts", "pytest11", "gevent.plugins.monkey.did_patch_all")
    with start_locust._packages_read_once():
        found = {group: sorted(importlib.metadata.entry_points(group=group)) for group in groups}
        (one,) = importlib.metadata.entry_points(group="console_scripts", name="pytest")
    assert reads == [{}]
    assert importlib.metadata.entry_points is counted
    assert found == {group: sorted(whole(group=group)) for group in groups}
    assert len(found["console_scripts"]) > 1
    assert one.name == "pytest"


_HEADLESS = """
import sys
from loadgen.run import start_locust
sys.argv = ["locust", "--headless"]
start_locust.prepared()
print(*(name for name in ("urllib3", "requests", "flask") if name in sys.modules))
import requests, urllib3, locust
print(requests.Session.__name__, urllib3.PoolManager.__name__, issubclass(requests.RequestException, OSError))
print(locust.runners.inspect, "LOCUST_SKIP_URLLIB3_PATCH" in start_locust.os.environ)
"""


def test_libraries_that_locust_was_loaded_without_can_be_imported_afterwards() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _HEADLESS], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert said[:3] == ["", "Session PoolManager True", "None False"]


def test_what_is_left_out_says_so_where_it_is_used() -> None:
    with pytest.raises(RuntimeError, match=r"locust\.clients\.HttpSession was left out of this process"):
        start_locust._LeftOut("locust.clients").HttpSession("http://127.0.0.1")
