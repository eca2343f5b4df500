"""What a machine lacks is skipped in one form, fails in CI, and is said in one line at the end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs
from tests.paths import REPO

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


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of the programs."""
    monkeypatch.setattr("tests.programs.shutil.which", lambda *_, **__: None)
    monkeypatch.delenv("CI", raising=False)
    return tmp_path


def test_what_is_missing_is_skipped_with_the_command_that_brings_it(bare: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=r"^chromium is not installed: apt-get install chromium$"):
        programs.require("chromium")
    with pytest.raises(
        pytest.skip.Exception, match=r"^nchan is not installed: apt-get install libnginx-mod-"
    ):
        programs.require_file(bare / "nchan.so", "nchan", "libnginx-mod-nchan")


def test_what_is_missing_fails_in_ci(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install nodejs; CI must have it"):
        programs.require("node")


def test_what_is_there_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "chromium-browser"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setattr(
        "tests.programs.shutil.which", lambda name, path: str(other) if name == other.name else None
    )
    assert programs.require("chromium") == str(other)
    assert programs.require_file(other, "it", "its-package") == other


def test_a_test_run_that_lacked_nothing_says_nothing() -> None:
    assert programs.wanting([]) is None
    assert programs.wanting(["Skipped: of another kind"]) is None
    assert programs.wanting(["Skipped: x is not installed: apt-get install y z"]) == (
        "1 test was skipped for want of x: apt-get install y z"
    )


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
        timeout=150,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert LINE in done.stdout.splitlines(), done.stdout + done.stderr
