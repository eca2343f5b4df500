"""Test the table with one row for each publish request; every row has the request's times."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.compare import profile
from analysis.figures.addresses import _Publishes
from analysis.loading.requests import request_rows
from analysis.loading.run import Window, load
from analysis.summary import _publish
from tests.analysis.synthetic import SECOND, T0, event, write_run


def table_of(rows: list[tuple[int, int, str]], encoded: bool = False) -> pa.Table:
    publisher, batch, status = zip(*rows, strict=True) if rows else ((), (), ())
    texts = pa.array(status, pa.string())
    return pa.table(
        {
            "publisher": pa.array(publisher, pa.int32()),
            "batch": pa.array(batch, pa.int64()),
            "status": texts.dictionary_encode() if encoded else texts,
        }
    )


STATUS = st.sampled_from(["accepted", "rejected", "error", "unanswered", "sent", "unsent", "unmade"])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), STATUS)), st.booleans())
def test_each_request_has_one_row_and_that_of_a_made_event_if_it_has_one(
    rows: list[tuple[int, int, str]], encoded: bool
) -> None:
    found = [rows[index] for index in request_rows(table_of(rows, encoded)).tolist()]
    of: dict[tuple[int, int], set[str]] = {}
    for publisher, batch, status in rows:
        of.setdefault((publisher, batch), set()).add(status)
    assert [(publisher, batch) for publisher, batch, _ in found] == sorted(of)
    for publisher, batch, status in found:
        assert (status == "unmade") == (of[publisher, batch] == {"unmade"})


def unmade(publisher: int, sequence: int, batch: int) -> dict[str, Any]:
    return event(
        publisher,
        sequence,
        "/default/a",
        batch * 100_000_000,
        "unmade",
        batch=batch,
        sent_ns=None,
        acked_ns=None,
    )


def made(publisher: int, sequence: int, batch: int) -> dict[str, Any]:
    return event(publisher, sequence, "/default/a", batch * 100_000_000, batch=batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write a run of two requests with two events each; the first event could not be made (status `unmade`)."""
    events = [unmade(9, 0, 0), made(9, 1, 0), made(9, 2, 1), made(9, 3, 1)]
    return write_run(tmp_path / "run", {"events": events})


def test_a_request_with_an_event_that_was_not_made_keeps_its_answer_time(folder: Path) -> None:
    run, window = load(folder), Window(T0 + SECOND, T0 + 2 * SECOND)
    found = _publish(run, window)
    assert (found["requests"], found["answer_ns"]["count"], found["lateness_ns"]["count"]) == (2, 2, 2)
    publishes = profile._distributions(run, window, profile._edges(window))["publish.latency"]
    assert (len(publishes.samples), publishes.percentile(0), publishes.percentile(100)) == (
        2,
        999_000,
        999_000,
    )


def test_a_request_to_an_address_keeps_its_answer_time(tmp_path: Path) -> None:
    events = [unmade(9, 0, 0), made(9, 1, 0), made(9, 2, 1), made(9, 3, 1)]
    for row in events:
        row["remote_address"] = None if row["status"] == "unmade" else "10.0.0.1"
    run = load(write_run(tmp_path / "run", {"events": events}))
    found = _Publishes(run, Window(T0 + SECOND, T0 + 2 * SECOND))
    assert found.counts == {"10.0.0.1": 2}
    figures = found.figures("10.0.0.1")
    assert (figures["requests"], figures["request_errors"]) == (2, 0)
    assert (figures["answer_ns"]["min"], figures["answer_ns"]["max"]) == (999_000, 999_000)
