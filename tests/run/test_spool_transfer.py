"""Test that a worker's spool reaches the master complete, whatever happens to the messages."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.run import spool_transfer
from loadgen.run.master_messages import SpoolWritten
from loadgen.run.spool_transfer import SpoolReceiver, SpoolSender
from loadgen.run.worker_messages import PIECE_BYTES, Piece

DELIVERIES, HEALTH = "deliveries-0003.arrows", "health-0003.arrows"


class Line:
    """A simulated line on which each message arrives, is lost, is damaged, or arrives twice."""

    def __init__(self, source: Path, sink: Path) -> None:
        self.steady_s = 0.0
        self.sink = sink
        self.queue: list[Piece] = []
        self.answers: list[SpoolWritten] = []
        self.most_under_way = 0
        self.sender = SpoolSender(
            lambda: sorted(source.glob("*.arrows")), self.queue.append, lambda: self.steady_s
        )
        self.receiver = SpoolReceiver(sink)

    def step(self, fate: str) -> None:
        """Deliver, lose, damage or double the sender's oldest message; then deliver the receiver's oldest answer."""
        self.most_under_way = max(self.most_under_way, self.sender.under_way)
        if self.queue:
            sent = self.queue.pop(0)
            if fate == "damaged" and sent.piece:
                sent = msgspec.structs.replace(sent, piece=bytes(255 - byte for byte in sent.piece))
            if fate != "lost":
                self.answers.append(self.receiver.take(3, sent))
            if fate == "twice":
                self.answers.append(self.receiver.take(3, sent))
        else:
            self.steady_s += 1.0
        if self.answers and fate != "late":
            self.sender.on_answer(self.answers.pop(0))
        self.sender.pump()


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=6),
    fates=st.lists(st.sampled_from(["ok", "ok", "lost", "damaged", "twice", "late"]), max_size=120),
)
def test_what_arrives_is_what_was_written_whatever_was_lost_damaged_doubled_or_late(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], fates: list[str]
) -> None:
    base = tmp_path_factory.mktemp("line")
    source, sink = base / "worker", base / "master"
    source.mkdir()
    sink.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loadgen.run.spool_transfer.PIECE_BYTES", 100)
        patch.setattr("loadgen.run.spool_transfer.WINDOW_BYTES", 400)
        line = Line(source, sink)
        for number, size in enumerate(sizes):
            for name in (DELIVERIES, HEALTH):
                with (source / name).open("ab") as file:
                    file.write(bytes((number * 37 + n) % 251 for n in range(size)))
            line.sender.pump()
            for fate in fates[number :: len(sizes)]:
                line.step(fate)
        for _ in range(3_000):
            if not line.sender.pending():
                break
            line.step("ok")
        assert not line.sender.pending()
        for name in (DELIVERIES, HEALTH):
            if (source / name).stat().st_size:
                assert (sink / name).read_bytes() == (source / name).read_bytes()
        assert line.receiver.missing(3, line.sender.totals()) == 0
        assert line.most_under_way <= 400


def test_a_master_that_does_not_answer_is_noticed_and_asked_with_one_piece(tmp_path: Path) -> None:
    (tmp_path / DELIVERIES).write_bytes(bytes(4 * spool_transfer.WINDOW_BYTES))
    line = Line(tmp_path, tmp_path / "nowhere")
    line.sender.pump()
    assert line.sender.under_way == spool_transfer.WINDOW_BYTES
    line.queue.clear()
    for _ in range(20):
        line.steady_s += 1.0
        line.sender.pump()
    assert line.sender.silent_s == 20
    assert {len(sent.piece) for sent in line.queue} == {PIECE_BYTES}
    assert len(line.queue) == 3
    assert line.sender.pending() == 4 * spool_transfer.WINDOW_BYTES


def test_only_the_files_of_a_workers_own_spool_are_written(tmp_path: Path) -> None:
    receiver = SpoolReceiver(tmp_path)
    for name in ("deliveries-0004.arrows", "../deliveries-0003.arrows", "manifest.json", "/etc/x"):
        with pytest.raises(ValueError, match="not a file of its spool"):
            receiver.take(3, Piece(name=name, at=0, piece=b"x", crc32=0))
        with pytest.raises(ValueError, match="not a file of its spool"):
            receiver.missing(3, {name: 1})
    assert not list(tmp_path.iterdir())


def test_a_disk_that_was_full_for_a_while_leaves_no_hole(tmp_path: Path) -> None:
    from zlib import crc32

    def piece(at: int, data: bytes) -> Piece:
        return Piece(name=DELIVERIES, at=at, piece=data, crc32=crc32(data))

    receiver = SpoolReceiver(tmp_path)
    receiver.take(3, piece(0, b"first"))
    # Half of a piece was written before the disk was full.
    with (tmp_path / DELIVERIES).open("ab") as file:
        file.write(b"sec")
    assert receiver.take(3, piece(5, b"second")).have == 11
    assert (tmp_path / DELIVERIES).read_bytes() == b"firstsecond"
