"""Test that `loadgen report` completes the record of a run that broke off."""

from pathlib import Path

import pytest

from analysis.record import files
from loadgen.cli.launch import report
from loadgen.exits import ExitCode, RunError
from tests.run.test_record import begun_run


def test_report_completes_a_record_that_broke_off(tmp_path: Path) -> None:
    folder = begun_run(tmp_path)
    assert report(folder.path) == 0
    assert (folder.path / "report.html").exists()
    assert not folder.incomplete


def full_disk(path: Path) -> Path:
    """Stand in for `files.fresh`: the path leads to /dev/full, so each write fails as on a full disk."""
    path.symlink_to("/dev/full")
    return path


def test_a_disk_that_is_full_at_the_end_keeps_the_spool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun_run(tmp_path)
    monkeypatch.setattr(files, "fresh", full_disk)
    with pytest.raises(RunError, match=r"No space left on device.*loadgen report") as caught:
        folder.complete()
    assert caught.value.code is ExitCode.INCONCLUSIVE
    assert folder.incomplete
    monkeypatch.undo()
    assert report(folder.path) == 0
