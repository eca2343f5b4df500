"""Test that a worker's rows reach the storage in the background, and that a bad storage loses none of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest

from analysis.record.parts import Found, StoredWorker
from analysis.record.places import Place
from analysis.record.storage import Storage, StorageError
from loadgen.measure.spool import SpoolWriter
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.spool_transfer import SpoolReceiver
from loadgen.run.worker import storing as module
from loadgen.run.worker.spool import STORAGE_PATIENCE_S, OwnSpool
from loadgen.run.worker.storing import PIECE_S, RETRY_S, Storing
from loadgen.run.worker.troubles import Troubles
from loadgen.run.worker_messages import Piece, Stored
from tests.run.worker.made_up import MadeUpClock, MadeUpLine, settle

RUN = "run-1"


class Place3(Storage):
    """A folder as the storage, which fails while ``why`` is set."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Place.of(str(folder)))
        self.why: str | None = None
        self.writes: list[bytes] = []

    def write(self, folders: tuple[str, ...], name: str, content: bytes) -> None:
        self.writes.append(content)
        if self.why is not None:
            raise StorageError(self.why)
        super().write(folders, name, content)


class Site:
    """Worker 3 with its spool. ``work`` runs the thread's loop here, until it has slept ``naps`` times."""

    def __init__(self, folder: Path, shared: bool = False) -> None:
        self.line, self.clock, self.troubles = MadeUpLine(), MadeUpClock(), Troubles(3)
        self.storage = Place3(folder / "place")
        self.writer = SpoolWriter(folder / "own", 3)
        self.loop: Callable[[], Any] = lambda: None
        self.naps: list[float] = []
        self.storing = Storing(
            self.storage, RUN, 3, self.writer.files, self.nap, self.clock.steady_s, self.started
        )
        self.spool = OwnSpool(
            self.writer, shared, self.line.to_coordinator, self.clock, self.troubles, self.storing
        )
        (folder / "masters").mkdir()
        self.receiver = SpoolReceiver(folder / "masters")
        self.left = 0

    def started(self, loop: Callable[[], Any]) -> None:
        self.loop = loop

    def nap(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.clock.at_ns += round(seconds * 1e9)
        self.left -= 1
        if self.left <= 0:
            raise InterruptedError

    def work(self, naps: int = 1) -> None:
        self.left = naps
        try:
            self.loop()
        except InterruptedError:
            return

    def hand_over(self, patience_s: float) -> None:
        """Let the worker hand over its record, while time passes."""
        handing = gevent.spawn(self.spool.hand_over, patience_s)
        self.clock.go_on(60)
        settle()
        assert handing.dead
        handing.get()

    def write(self, rows: int = 1) -> None:
        self.writer.write_rows("clock", [tuple(range(1, 10))] * rows)

    @property
    def path(self) -> Path:
        return self.writer.folder / "clock-0003.arrows"

    def stored(self) -> Found:
        found = Found()
        assert (
            sum(b.num_rows for b in StoredWorker(self.storage, RUN, 3).batches("clock", found)) == found.rows
        )
        return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_rows_wait_for_a_whole_piece_or_some_seconds(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.write()
    site.work()
    assert site.storage.writes == []
    site.clock.at_ns += round(PIECE_S * 1e9)
    site.work()
    assert site.stored().rows == 1
    monkeypatch.setattr(module, "PIECE_BYTES", 500)
    site.write(200)
    site.work()
    # Only whole pieces are stored at once; the rest waits.
    assert [len(piece) for piece in site.storage.writes[1:]] == [500] * (len(site.storage.writes) - 1)
    assert 0 < site.storing.pending() < 500


def test_at_the_end_everything_is_stored_and_told(site: Site) -> None:
    site.write(3)
    site.spool.close()
    site.storing.finish()
    site.work()
    content = site.path.read_bytes()
    site.spool.hand_over(30)
    told = site.spool.stored()
    assert told is not None
    assert told["clock-0003.arrows"].rows == 3
    assert told["clock-0003.arrows"].bytes == len(content)
    assert told["clock-0003.arrows"].sha256 == hashlib.sha256(content).hexdigest() == site.stored().sha256
    assert (site.spool.gathered_by, site.spool.totals(), site.spool.unstored) == ("storage", None, None)
    assert site.line.all(Piece) == []
    site.spool.remove_what_is_taken()
    assert not site.writer.folder.exists()


def test_a_storage_that_fails_for_a_while_gets_the_same_piece_again(site: Site) -> None:
    site.write()
    site.work()
    site.clock.at_ns += round(PIECE_S * 1e9)
    site.work()
    assert site.stored().rows == 1
    site.storage.why = "it is down"
    site.write(2)
    site.work()
    site.clock.at_ns += round(PIECE_S * 1e9)
    site.work(3)
    assert site.naps[-1] == RETRY_S
    site.spool.pump()
    site.spool.pump()
    ((sentence, count),) = site.troubles.network.items()
    assert "it is down" in sentence
    assert count == 1
    site.write(4)
    site.storage.why = None
    site.work()
    # The piece's bytes must not change between attempts, since its name has their checksum.
    assert len(set(site.storage.writes[1:])) == 1
    site.write(8)
    site.spool.close()
    site.storing.finish()
    site.work()
    assert site.stored().rows == 15
    assert site.stored().trouble is None
    site.spool.hand_over(30)
    assert site.spool.unstored is None


def test_what_cannot_be_stored_goes_to_the_master(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.write()
    site.work()
    site.clock.at_ns += round(PIECE_S * 1e9)
    site.work()
    assert site.stored().rows == 1
    site.storage.why = "it is down"
    site.write(5)
    site.spool.close()
    site.storing.finish()
    site.work()
    content = site.path.read_bytes()

    def to_coordinator(message: Any) -> None:
        MadeUpLine.to_coordinator(site.line, message)
        if isinstance(message, Piece):
            site.spool.on_answer(site.receiver.take(3, message))

    site.spool._send = to_coordinator
    site.hand_over(30)
    # While the worker waits, it tells the master, which would otherwise give it up.
    assert len(site.line.all(Stored)) >= STORAGE_PATIENCE_S // 2
    assert site.spool.gathered_by == "messages"
    assert site.spool.totals() == {"clock-0003.arrows": len(content)}
    assert site.receiver.missing(3, {"clock-0003.arrows": len(content)}) == 0
    assert site.spool.unstored is not None
    assert "could not be stored in file://" in site.spool.unstored
    assert "it is down" in site.spool.unstored
    assert "they are sent to the master" in capsys.readouterr().err
    # The part that lies in the storage is told too, with its own checksum.
    told = site.spool.stored()
    assert told is not None
    assert told["clock-0003.arrows"].bytes < len(content)
    assert told["clock-0003.arrows"].sha256 == site.stored().sha256


def test_what_a_shared_folder_has_is_not_sent_and_not_removed(tmp_path: Path) -> None:
    site = Site(tmp_path, shared=True)
    site.storage.why = "it is down"
    site.write()
    site.spool.close()
    site.storing.finish()
    site.work()
    site.hand_over(0)
    site.spool.remove_what_is_taken()
    assert site.path.exists()
    assert site.line.all(Piece) == []
    assert site.spool.gathered_by == "shared folder"


def test_a_late_answer_of_the_storage_counts_nothing(site: Site) -> None:
    site.write()
    site.spool.close()
    site.storing.finish()
    stop, write = site.storing.stop, site.storage.write

    def slowly(folders: tuple[str, ...], name: str, content: bytes) -> None:
        stop()
        write(folders, name, content)

    site.storage.write = slowly  # type: ignore[method-assign]
    site.work()
    assert site.storing.stored_bytes == 0
    assert site.storing.pending() == site.path.stat().st_size


def test_the_master_may_have_removed_the_files(tmp_path: Path) -> None:
    site = Site(tmp_path, shared=True)
    site.write()
    site.spool.close()
    site.path.unlink()
    site.storing.finish()
    site.work()
    site.spool.hand_over(30)
    assert site.spool.unstored is None


def test_memory_holds_one_piece(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 600)
    site.write(1_000)
    site.storage.why = "it is down"
    site.work(4)
    assert {len(piece) for piece in site.storage.writes} == {600}
    (stream,) = site.storing._streams.values()
    assert len(stream.held) == 600


@pytest.mark.parametrize("run", ["../run", "/run", ".run", ""])
def test_a_run_named_by_a_master_cannot_lead_out_of_the_place(tmp_path: Path, run: str) -> None:
    with pytest.raises(ValueError, match="name of the run's folder"):
        Storing(Place3(tmp_path), run, 3, list, start=lambda loop: None)


def test_answers_of_the_master_are_for_what_was_sent(site: Site) -> None:
    site.spool.on_answer(SpoolWritten(name="clock-0003.arrows", have=5, again=False))
    assert site.line.sent == []
