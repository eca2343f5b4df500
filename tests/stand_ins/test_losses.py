"""Test the journal of losses."""

import json
from pathlib import Path

from loadgen.measure.stamp import encode_event
from loadgen.stand_ins.losses import Losses


def test_each_loss_is_a_line_with_the_stamp_of_its_event(tmp_path: Path) -> None:
    path = tmp_path / "lost.jsonl"
    path.write_text("of an earlier run\n")
    losses = Losses(path)
    losses.write("every", 3, "s7", encode_event(11, 22, 33, 44, 55, 100))
    losses.write("payload", 4, "s8", "no stamp", size=9)
    losses.write("payload", 4, "s8", None)
    # The file is whole before the server ends.
    first, second, third = map(json.loads, path.read_text().splitlines())
    losses.close()
    losses.write("every", 3, "s7", None)
    assert first.pop("at_ns") > 10**18
    assert first == {"why": "every", "connection": 3, "subscription": "s7", "stamp": [11, 22, 33]}
    assert (second["stamp"], second["size"]) == (None, 9)
    assert third["stamp"] is None
    assert len(path.read_text().splitlines()) == 3


def test_without_a_file_nothing_is_written() -> None:
    losses = Losses(None)
    losses.write("every", 3, "s7", None)
    losses.close()
