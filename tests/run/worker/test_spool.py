"""Test that a worker's spool reaches its master, or stays on the worker's machine if the master does not take it."""

from pathlib import Path

import gevent
import pytest

from loadgen.measure.spool import SpoolWriter
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.worker.spool import OwnSpool
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import Piece
from tests.run.worker.made_up import MadeUpClock, MadeUpLine, settle


class Site:
    def __init__(self, folder: Path, shared: bool = False) -> None:
        self.line, self.clock, self.troubles = MadeUpLine(), MadeUpClock(), Troubles(3)
        self.folder = folder / "own"
        self.writer = SpoolWriter(self.folder, 3)
        self.spool = OwnSpool(self.writer, shared, self.line.to_coordinator, self.clock, self.troubles)
        (folder / "masters").mkdir()
        self.receiver = SpoolReceiver(folder / "masters")
        self.taken = 0

    def write(self) -> None:
        self.writer.write_rows("clock", [tuple(range(1, 10))])

    def answers(self) -> None:
        """Let the master answer all messages sent since the last call, and pass its answers to the spool."""
        for piece in self.line.all(Piece)[self.taken :]:
            self.taken += 1
            self.spool.on_answer(self.receiver.take(3, piece))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_what_the_master_can_read_is_not_sent(tmp_path: Path) -> None:
    site = Site(tmp_path, shared=True)
    site.write()
    site.spool.pump()
    site.spool.on_answer(SpoolWritten(name="clock-0003.arrows", have=5, again=False))
    site.spool.close()
    site.spool.hand_over(30)
    site.spool.remove_what_is_taken()
    assert site.line.sent == []
    assert (site.spool.gathered_by, site.spool.totals()) == ("shared folder", None)
    assert site.spool.rows == {"clock": 1}
    assert site.spool.written_bytes == (site.folder / "clock-0003.arrows").stat().st_size > 0


def test_the_size_is_known_even_if_an_impatient_master_has_removed_the_files(tmp_path: Path) -> None:
    """A master that no longer waits for a slow worker reads the files in the shared folder, and removes them."""
    site = Site(tmp_path, shared=True)
    site.write()
    (path,) = site.folder.iterdir()
    kept = tmp_path / "kept"
    kept.hardlink_to(path)
    path.unlink()
    site.write()
    site.spool.close()
    site.spool.hand_over(30)
    assert site.spool.written_bytes == kept.stat().st_size > 0


def test_what_it_cannot_read_is_sent_and_removed_once_it_has_all(site: Site, tmp_path: Path) -> None:
    for _ in range(3):
        site.write()
        site.spool.pump()
        site.answers()
    site.write()
    site.spool.close()
    assert site.spool.gathered_by == "messages"
    handing = gevent.spawn(site.spool.hand_over, 30)
    settle()
    assert not handing.ready()
    # Files that the master does not have are not removed.
    site.spool.remove_what_is_taken()
    assert site.folder.exists()
    site.answers()
    site.clock.go_on(0.1)
    assert handing.ready()
    totals = site.spool.totals()
    assert totals is not None
    assert site.receiver.missing(3, totals) == 0
    site.spool.remove_what_is_taken()
    assert not site.folder.exists()
    assert (tmp_path / "masters" / "clock-0003.arrows").stat().st_size == totals["clock-0003.arrows"]


def test_a_master_that_is_silent_is_given_up_and_the_record_stays_here(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    site.write()
    site.spool.close()
    handing = gevent.spawn(site.spool.hand_over, 30)
    site.clock.go_on(29.5)
    assert not handing.ready()
    site.clock.go_on(1)
    assert handing.ready()
    size = site.spool.written_bytes
    assert capsys.readouterr().err == (
        "loadgen: the master did not take all of the record of worker 3:"
        f" {size:,} bytes are only here, in {site.folder}\n"
    )
    site.spool.remove_what_is_taken()
    assert (site.folder / "clock-0003.arrows").exists()


def test_files_that_cannot_be_read_break_the_worker_and_are_not_waited_for(site: Site) -> None:
    site.write()
    site.spool.close()
    path = site.folder / "clock-0003.arrows"
    path.rename(site.folder / "elsewhere")
    path.mkdir()
    (path / "x").write_bytes(b"x")
    site.spool.pump()
    assert site.troubles.broken == "worker 3 cannot read its record: Is a directory"
    handing = gevent.spawn(site.spool.hand_over, 30)
    site.clock.go_on(0.1)
    assert handing.ready()
