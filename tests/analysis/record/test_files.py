"""Test that nothing is written through a link in a run's folder."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

import analysis
from analysis import __main__ as command
from analysis import plots
from analysis.figures import derived
from analysis.record import files
from analysis.report import pdf
from loadgen.cli import launch
from loadgen.exits import RunError
from loadgen.measure.spool import SpoolWriter
from loadgen.run.record import RunFolder
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.worker_messages import Piece
from tests.paths import REPO

SAMPLE = REPO / "results" / "sample"
OUTPUTS = (
    "summary.json",
    "junit.xml",
    "summary.md",
    "report.html",
    "fanout.parquet",
    "ledger.parquet",
    "report.pdf",
)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "victim"
    path.write_text("mine")
    yield path
    assert path.read_text() == "mine"


@pytest.fixture
def received(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "received"))


def lead(folder: Path, names: tuple[str, ...], victim: Path) -> None:
    for name in names:
        for entry in (folder / name, folder / f"{name}.new"):
            entry.unlink(missing_ok=True)
            entry.symlink_to(victim)


def test_what_the_analysis_writes_replaces_links(
    received: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Draw only the first plot, to save time: its files are of the same kinds as those of all plots.
    monkeypatch.setattr(plots, "ALL", plots.ALL[:1])
    lead(received, OUTPUTS, victim)
    run = analysis.load(received)
    summary = analysis.summarise(run)
    assert command.write(run, summary) == []
    pdf.write(run, summary, received / "report.pdf")
    for name in OUTPUTS:
        assert (received / name).is_file()
        assert not (received / name).is_symlink()
        assert not (received / f"{name}.new").exists()
    assert derived.same(received / "ledger.parquet", derived.tables(run)["ledger"])


def unfinished(received: Path) -> None:
    manifest = json.loads((received / "manifest.json").read_text())
    (received / "manifest.json").write_text(json.dumps(manifest | {"status": "failed", "exit_code": 3}))
    (received / "spool").mkdir()


def test_each_file_for_which_there_is_no_room_is_said_and_the_others_are_tried(
    received: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = analysis.load(received)
    summary = analysis.summarise(run)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(files, "replace", full)
    monkeypatch.setattr("analysis.figures.derived.write", full)
    monkeypatch.setattr("analysis.report.page.render", lambda *_: "the page")
    names = ("summary.json", "junit.xml", "summary.md", "fanout.parquet or ledger.parquet", "report.html")
    assert command.write(run, summary) == [
        f"{received / name} cannot be written: No space left on device" for name in names
    ]


def test_completing_a_record_replaces_links(received: Path, victim: Path) -> None:
    unfinished(received)
    names = ("histograms.hlog", "deliveries.parquet", "events.parquet")
    lead(received, names, victim)
    (received / "manifest.json.new").symlink_to(victim)
    assert launch.report(received) in (0, 3)
    assert not any((received / name).is_symlink() for name in (*names, "manifest.json"))
    assert not (received / "spool").exists()


@pytest.mark.parametrize("entry", ["spool", "spool/deliveries-0000.arrows", "spool/x"])
def test_a_spool_of_links_or_pipes_is_refused(
    received: Path, victim: Path, entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished(received)
    if entry == "spool":
        (received / "spool").rmdir()
        (received / "elsewhere").mkdir()
        (received / "spool").symlink_to(received / "elsewhere")
    elif entry == "spool/x":
        os.mkfifo(received / entry)
    else:
        (received / entry).symlink_to(victim)
    assert launch.report(received) == 2
    err = capsys.readouterr().err
    assert "is a link or no file, which a run does not leave in its spool" in err
    assert len(err.splitlines()) == 1


def test_a_folder_that_the_user_names_may_be_a_link(received: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(received)
    run = analysis.load(tmp_path / "link")
    (received / "summary.md").unlink()
    assert command.write(run, analysis.summarise(run), report=False) == []
    assert (received / "summary.md").is_file()


def test_a_spool_is_written_beside_links(tmp_path: Path, victim: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    lead(spool, ("events-0001.arrows", "clock-0002.arrows", "checks-0002.arrows"), victim)
    writer = SpoolWriter(spool, 2)
    writer.write_rows("clock", [tuple(range(1, 10))])
    writer.close()
    assert not (spool / "clock-0002.arrows").is_symlink()
    piece = b"abc"
    answer = SpoolReceiver(spool).take(
        1, Piece(name="events-0001.arrows", at=0, piece=piece, crc32=crc32(piece))
    )
    assert answer.have == 3
    assert (spool / "events-0001.arrows").read_bytes() == piece


def test_half_a_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.replace(path, "old")
    writing = files.replacing(path)
    writing.__enter__().write_text("half")
    assert not writing.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("file", "old")]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_named_output_may_be_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    files.output(Path(f"/proc/self/fd/{write}"), "said")
    os.close(write)
    assert os.read(read, 100) == b"said"
    os.close(read)


def test_what_is_no_regular_file_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "lost").symlink_to("nowhere")
    (tmp_path / "file").write_text("")
    assert files.trouble(tmp_path / "pipe") == "is not a regular file"
    assert files.trouble(tmp_path) == "is not a regular file"
    assert files.trouble(tmp_path / "lost") == "is a link that leads nowhere"
    assert files.trouble(tmp_path / "file") is None
    assert files.trouble(tmp_path / "none") is None


def test_a_manifest_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(RunError, match=r"manifest\.json is not a regular file"):
        RunFolder.open(tmp_path)
