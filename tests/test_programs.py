"""Test that tests whose programs are missing are skipped with a uniform message, and fail in CI."""

from pathlib import Path

import pytest

from tests import programs


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a machine on which no program that tests need is installed."""
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
