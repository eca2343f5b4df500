"""Test the journal in which stand-ins record lost deliveries."""

import json
from pathlib import Path

from loadgen.measure.stamp import encode_event
from loadgen.stand_ins.journal import Journal


def test_each_loss_is_a_line_with_the_stamp_of_its_event(tmp_path: Path) -> None:
    path = tmp_path / "lost.jsonl"
    path.write_text("of an earlier run\n")
    losses = Journal(path)
    losses.lost("every", encode_event(11, 22, 33, 44, 55, 100), connection=3, subscription="s7")
    losses.lost("payload", "no stamp", connection=4, subscription="s8", size=9)
    losses.lost("payload", None, connection=4, subscription="s8")
    # Each loss is in the file at once, not only when the server ends.
    first, second, third = map(json.loads, path.read_text().splitlines())
    losses.close()
    losses.lost("every", None, connection=3, subscription="s7")
    assert first.pop("at_ns") > 10**18
    wanted = {"kind": "lost", "why": "every", "connection": 3, "subscription": "s7", "stamp": [11, 22, 33]}
    assert first == wanted
    assert (second["stamp"], second["size"]) == (None, 9)
    assert third["stamp"] is None
    assert len(path.read_text().splitlines()) == 3


def test_without_a_file_nothing_is_written() -> None:
    losses = Journal(None)
    assert not losses.is_open
    losses.lost("every", None, connection=3, subscription="s7")
    losses.close()


def test_two_that_append_keep_what_the_other_and_an_earlier_run_wrote(tmp_path: Path) -> None:
    path = tmp_path / "lost.jsonl"
    path.write_text('{"kind":"earlier"}\n')
    journals = [Journal(path, append=True), Journal(path, append=True)]
    for number in range(4):
        journals[number % 2].note("gone", number=number)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["kind"], line.get("number")) for line in lines] == [
        ("earlier", None),
        *(("gone", number) for number in range(4)),
    ]
    for journal in journals:
        journal.close()
