"""Test that a line at the end of a test run names missing programs, even if several processes ran the tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import REPO
from tests.system.harness import STUCK_S

CONFTEST = f"""
import sys
sys.path.insert(0, {str(REPO)!r})
from tests import programs
from tests.conftest import pytest_terminal_summary
programs.find = lambda program: None
"""
TESTS = """
import pytest
from tests import programs


@pytest.mark.parametrize("number", range(3))
def test_a_browser(number):
    programs.require("chromium")


@pytest.fixture(scope="module")
def broker():
    return programs.require("mosquitto_passwd")


def test_a_broker(broker):
    pass


@pytest.mark.skip(reason="of another kind")
def test_another():
    pass


def test_what_is_there():
    pass
"""
LINE = "4 tests were skipped for want of chromium, mosquitto_passwd: apt-get install chromium mosquitto"


@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_last_line_says_what_was_skipped_side_by_side_too(tmp_path: Path, processes: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", processes, str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=STUCK_S,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert LINE in done.stdout.splitlines(), done.stdout + done.stderr
