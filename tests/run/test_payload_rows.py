"""Test which data tables a worker needs to make its events.

The events must be the same whether the tables are read from files or received from the master.
"""

import json
from pathlib import Path

import pytest

from loadgen.payloads.lines import COLUMNS
from loadgen.resolve import Clients
from loadgen.resolve.resolver import run_of
from loadgen.resolve.rows import ClientRows, own_names, request_columns, rows_of
from loadgen.resolve.run import decoded, encoded
from loadgen.run.rows_transfer import ArrivingRows, pieces

SCENARIO = """\
version: 1
data:
  people: {csv: people.csv, secret: [token]}
  anyone: {csv: people.csv, assign: random}
clients:
  users: {count: 2, subscribe: "/default/u/{people.id}"}
  backend:
    count: 2
    publish:
      channel: "/default/u/x"
      rate: 10/s
      payload:
        json: {who: "{anyone.id}", plan: "{anyone.plan}", me: "{people.plan}", deep: [{random: ["{anyone.id}"]}]}
  lines:
    count: 1
    publish: {channel: "/default/u/{anyone.id}", rate: 10/s, payload: {file: m.jsonl, pick: by-weight, weight: w}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text("id,token,plan\na,s,free\nb,t,pro\nc,u,é\n")
    Path("m.jsonl").write_text("".join(f'{{"n": {n}, "w": {n}}}\n' for n in range(6000)))
    Path("x.yaml").write_text(SCENARIO)


def events(clients: Clients, number: int, values: dict[str, object]) -> list[str]:
    publish = clients.client(number, values).publish
    assert publish is not None
    draw, maker = publish.channels(), publish.maker()
    assert maker is not None
    found = []
    for sequence in range(20):
        channel = draw.next()
        body = maker.next(sequence, getattr(draw, "rows", {}))
        found.append(f"{channel} {clients.stamping.event(7, number, sequence, 1, 2, body)}")
    return found


def test_the_columns_and_messages_that_publishers_draw_from() -> None:
    run, tables = run_of("x.yaml")
    with tables:
        assert request_columns(run) == {"anyone": ["id", "plan"], "payload of lines": list(COLUMNS)}
        assert (rows_of(run, "anyone"), rows_of(run, "payload of lines")) == (3, 6000)
        assert own_names(run, run.group("backend")) == ("people.plan",)
        assert "token" not in tables["people"].columns


def test_a_worker_of_another_process_makes_the_same_events() -> None:
    run, tables = run_of("x.yaml")
    with tables:
        rows = ClientRows(run, tables)
        here = Clients(run, tables, rows)
        arriving = ArrivingRows(decoded(encoded(run)), None)
        sent = list(pieces(run, tables))
        for piece in sent:
            assert not arriving.complete.is_set()
            arriving.take(piece)
        assert arriving.complete.is_set()
        assert len(sent) > 2
        there = Clients(decoded(encoded(run)), arriving.tables)
        for number in range(2, 5):
            group = run.group_of(number)
            values = rows.values(group, number)
            assert events(there, number, values) == events(here, number, values)
        picked = [json.loads(each.partition(" ")[2])["n"] for each in events(there, 4, {})]
        assert len(set(picked)) > 15
        arriving.tables.close()
