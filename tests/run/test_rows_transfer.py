"""Test sending a worker the data rows that fill its publish requests: in pieces, some broken, or cut short."""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.data.table import Table, TableWriter
from loadgen.data.tables import Tables
from loadgen.resolve import Clients, ResolvedRun
from loadgen.resolve.resolver import run_of
from loadgen.resolve.rows import ClientRows, request_columns
from loadgen.resolve.run import DataSet
from loadgen.run import messages, rows_transfer
from loadgen.run.master_messages import Rows
from loadgen.run.rows_transfer import ArrivingRows, pieces

SCENARIO = """version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
  talk: {jsonl: talk.jsonl, assign: in-turn}
clients:
  users: {count: 10, subscribe: "/default/users/{people.id}"}
  backend: {count: 3, publish: {channel: "/default/users/{anyone.id}/{talk.at.room}", rate: 100/s}}
phases: {warmup: 0s, measure: 10s}
"""
ROWS = 5_000


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[ResolvedRun, Tables]:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,token\n" + "".join(f"u{n},secret-{n}\n" for n in range(ROWS)))
    Path("talk.jsonl").write_text("".join(f'{{"at": {{"room": {n}}}}}\n' for n in range(7)))
    Path("x.yaml").write_text(SCENARIO)
    return run_of("x.yaml")


def sent(run: ResolvedRun, tables: Tables) -> list[Rows]:
    """Return the messages with rows, decoded and checked as by the worker that receives them."""
    return [messages.checked(piece) for piece in pieces(run, tables)]


def drawn(run: ResolvedRun, tables: Tables, rows: ClientRows | None = None) -> list[list[str]]:
    clients = Clients(run, tables, rows)
    found = []
    for number in range(10, 13):
        publish = clients.client(number, {}).publish
        assert publish is not None
        draw = publish.channels()
        found.append([draw.next() for _ in range(50)])
    return found


def test_a_worker_without_the_files_draws_what_the_master_would(loaded: tuple[ResolvedRun, Tables]) -> None:
    run, tables = loaded
    arriving = ArrivingRows(run, None)
    came = sent(run, tables)
    for piece in came:
        assert not arriving.complete.is_set()
        arriving.take(piece)
    assert arriving.complete.is_set()
    assert drawn(run, arriving.tables) == drawn(run, tables, ClientRows(run, tables))
    assert arriving.tables["anyone"].line(ROWS - 1) == ROWS + 1
    assert len(came) > 3


def test_only_columns_of_requests_travel_and_no_secret(loaded: tuple[ResolvedRun, Tables]) -> None:
    run, tables = loaded
    assert request_columns(run) == {"anyone": ["id"], "talk": ["at.room"]}
    assert b"secret-" not in msgspec.msgpack.encode(sent(run, tables))


def test_a_process_that_has_the_files_waits_for_nothing(loaded: tuple[ResolvedRun, Tables]) -> None:
    run, tables = loaded
    arriving = ArrivingRows(run, tables)
    assert arriving.complete.is_set()
    assert arriving.tables is tables


def test_a_transfer_that_breaks_off_is_never_complete(loaded: tuple[ResolvedRun, Tables]) -> None:
    run, tables = loaded
    arriving = ArrivingRows(run, None)
    for piece in sent(run, tables)[:-1]:
        arriving.take(piece)
    assert not arriving.complete.is_set()
    assert set(arriving.tables) == {"anyone"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data": "people"}, "rows of 'people', which this worker does not wait for"),
        ({"data": "none"}, "rows of 'none', which this worker does not wait for"),
        ({"columns": ["token"]}, "its rows of 'anyone' are incomplete"),
        ({"cells": []}, "its rows of 'anyone' are incomplete"),
        ({"cells": [['"a"']]}, "its rows of 'anyone' are incomplete"),
        ({"last": True}, "it ends the rows of 'anyone' at 16 of 5,000"),
        ({"cells": [["1,2"] * 16]}, "its cells are not each a JSON value"),
        ({"cells": [["u1"] * 16]}, "JSON is malformed"),
        ({"lines": list(range(9_000)), "cells": [["1"] * 9_000]}, "at 9,000 of 5,000"),
    ],
)
def test_broken_pieces_are_refused(
    loaded: tuple[ResolvedRun, Tables], change: dict[str, Any], why: str
) -> None:
    run, tables = loaded
    first = sent(run, tables)[0]
    assert (first.data, len(first.lines)) == ("anyone", 16)
    with pytest.raises(ValueError, match=why):
        ArrivingRows(run, None).take(msgspec.structs.replace(first, **change))


def test_a_piece_after_the_last_is_refused(loaded: tuple[ResolvedRun, Tables]) -> None:
    run, tables = loaded
    arriving = ArrivingRows(run, None)
    came = sent(run, tables)
    for piece in came:
        arriving.take(piece)
    with pytest.raises(ValueError, match="does not wait for"):
        arriving.take(came[0])


@given(st.lists(st.text(max_size=2_000), min_size=1, max_size=300), st.integers(1, 5_000), st.integers(1, 40))
def test_any_rows_arrive_whole_in_pieces_of_bounded_size(values: list[str], limit: int, most: int) -> None:
    table = Table.write(((n + 2, (value,)) for n, value in enumerate(values)), ["x"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_transfer, "_PIECE_BYTES", limit)
        patch.setattr(rows_transfer, "_PIECE_ROWS", most)
        patch.setattr(rows_transfer, "_FIRST_ROWS", 1)
        came = list(rows_transfer._pieces("people", ["x"], table))
    assert [piece.last for piece in came] == [False] * (len(came) - 1) + [True]
    assert all(1 <= len(piece.lines) <= most for piece in came)
    assert [line for piece in came for line in piece.lines] == list(range(2, len(values) + 2))
    writer = TableWriter(["x"])
    for piece in came:
        writer.add(piece.lines, piece.cells)
    again = writer.finish()
    writer.close()
    assert [again.cell("x", row) for row in range(len(again))] == values
    again.close()
    table.close()


def test_a_full_disk_is_told(loaded: tuple[ResolvedRun, Tables], monkeypatch: pytest.MonkeyPatch) -> None:
    run, tables = loaded
    came = sent(run, tables)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(TableWriter, "add", full)
    with pytest.raises(OSError, match="No space left"):
        ArrivingRows(run, None).take(came[0])


def test_the_data_of_a_run_need_no_file_at_the_worker() -> None:
    # The resolved run has only the number of rows, not the rows.
    assert set(DataSet.__struct_fields__) == {"file", "rows", "assign", "columns"}
